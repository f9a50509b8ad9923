"""Load tests of the gateway and of what stands behind it, on Locust: open-loop, judged by a file.

`python -m loadtests SCENARIO --host URL --objectives slo.toml --html report.html` is the front;
`locust -f loadtests/locustfile.py` is the same test for a master and workers on many machines.
"""
