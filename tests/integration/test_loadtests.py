"""The load tests on real servers: Locust alone and with workers, met and missed, parts killed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from embark.ports import free_port
from loadtests.arrivals import schedule
from loadtests.scenario import parse_scenario
from tests.support.stack import Stack, running, wait_until

pytestmark = pytest.mark.stack

LOCUSTFILE = Path(__file__).parents[2] / "loadtests" / "locustfile.py"
STALL_S = 1.0
PATIENCE_MS = 30_000
PATIENCE = f"[arrivals]\ntimeout_ms = {PATIENCE_MS}"
CALM = f"""
name = "calm"
{PATIENCE}
stages = [{{ seconds = 3, rate = 30 }}]
[catalogue]
size = 60
[[mix]]
kind = "lookup"
items = 10
"""
ERRORS_ONLY = "[[objective]]\nerror_budget = 0\n"
KEPT = "[[objective]]\nerror_budget = 0\nminimum_hit_rate = 1\n"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


class Run:
    """Files of a test in a folder, and ways to run it."""

    def __init__(self, folder: Path, scenario: str, objectives: str) -> None:
        self.scenario, self.objectives = folder / "scenario.toml", folder / "slo.toml"
        self.scenario.write_text(scenario)
        self.objectives.write_text(objectives)
        self.json, self.html = folder / "result.json", folder / "report.html"

    def front(self, host: str, *more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "loadtests", str(self.scenario), "--host", host]
        command += ["--objectives", str(self.objectives)]
        command += ["--json", str(self.json), "--html", str(self.html), *more]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def master(self, host: str, port: int, workers: int) -> subprocess.Popen[str]:
        options = ["--headless", "--master", "--expect-workers", str(workers)]
        options += ["--master-bind-host", "127.0.0.1", "--master-bind-port", str(port)]
        options += ["--host", host, "--scenario", str(self.scenario)]
        return locust(*options, "--objectives", str(self.objectives), "--result", str(self.json))

    @property
    def result(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.json.read_bytes())
        return read


def locust(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def worker(port: int) -> subprocess.Popen[str]:
    return locust("--worker", "--master-host", "127.0.0.1", "--master-port", str(port))


def test_two_workers_of_a_master_add_up(platform: Stack, tmp_path: Path) -> None:
    run, port = Run(tmp_path, CALM, KEPT), free_port()
    master = run.master(platform.url, port, 2)
    workers = [worker(port) for _ in range(2)]
    said = [one.communicate(timeout=300)[0] for one in (master, *workers)]
    assert [one.returncode for one in (master, *workers)] == [0, 0, 0], said
    result, arrivals = run.result, parse_scenario(CALM, "calm").arrivals
    due = sum(len(schedule(arrivals, 1, index, 2)) for index in range(2))
    figures = result["calls"]["lookup"]
    assert (result["workers"], result["met"]) == (2, True)
    assert (figures["due"], figures["sent"], figures["failed"]) == (due, due, 0)
    assert figures["items"] == {"minilm": {"hit": 10 * due}}
    assert sum(slot["due"] for slot in result["timeline"]) == due
    assert 0 < figures["latency_ms"]["p50"] <= figures["latency_ms"]["max"]


def test_a_worker_that_dies_fails_the_test(tmp_path: Path) -> None:
    with stalling_server() as (url, stall):
        run, port = Run(tmp_path, _score(seconds=15), ERRORS_ONLY), free_port()
        master = run.master(url, port, 2)
        first, second = worker(port), worker(port)
        wait_until(lambda: stall.seen > 20, 60, "the workers send")
        first.kill()
        said = master.communicate(timeout=300)[0]
    assert master.returncode == 1, said
    assert "1 of 2 processes did not come to the end" in run.result["objectives"][0]["note"]
    for one in (first, second):
        one.communicate(timeout=300)


def test_lookups_stay_whole_while_triton_and_consumers_are_killed(
    platform: Stack, tmp_path: Path
) -> None:
    shipped = (LOCUSTFILE.parent / "scenarios" / "dependency_lost.toml").read_text()
    for long, short in (
        ("[arrivals]", PATIENCE),
        ("seconds = 60", "seconds = 6"),
        ("at = 15", "at = 1"),
        ("at = 30", "at = 2"),
        ("size = 1000", "size = 100"),
        ("new_per_second = 1", "new_per_second = 5"),
    ):
        assert long in shipped
        shipped = shipped.replace(long, short)
    run = Run(tmp_path, shipped, ERRORS_ONLY)
    triton = platform.children("tritonserver")[0].pid
    consumer = platform.children("consumers")[0].pid
    kills = [f"--on-event=retina-lost=kill -9 {triton}"]
    kills += [f"--on-event=consumers-lost=kill -9 {consumer}"]
    ended = run.front(platform.url, *kills)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    figures = run.result["calls"]["lookup"]
    assert figures["failed"] == 0
    # What was known before stays a hit; what is new meanwhile is OOV.
    assert figures["oov_rate"] > 0 and figures["hit_rate"] > 0.5
    wait_until(lambda: len(platform.children("tritonserver")) == 1, 60, "Triton is back")
    assert platform.children("tritonserver")[0].pid != triton


def test_a_stall_shows_in_the_open_loop_and_hides_in_a_closed_one(tmp_path: Path) -> None:
    run = Run(tmp_path, _score(seconds=3), "[[objective]]\npercentile = 99\nlimit_ms = 500\n")
    with stalling_server() as (url, stall):
        stall.after(40)
        ended = run.front(url)
        stall.after(40)
        closed = []
        with httpx.Client(base_url=url) as client:
            for _ in range(120):
                began = time.perf_counter()
                client.post("/score", content=b"{}")
                closed.append((time.perf_counter() - began) * 1000)
    figures = run.result["calls"]["score"]
    assert (figures["due"], figures["failed"]) == (120, 0)
    # Some 40 requests were due while the server stalled; in a closed loop, one was.
    assert figures["latency_ms"]["p99"] > 0.9 * STALL_S * 1000
    assert sum(one > 0.9 * STALL_S * 1000 for one in closed) == 1
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "BREACH" in ended.stdout and "NOT met" in ended.stdout
    assert "the objectives are not met" in run.html.read_text()


def test_what_could_not_be_sent_and_an_event_that_failed_are_not_passed_over(
    tmp_path: Path,
) -> None:
    scenario = _score(seconds=3).replace("[arrivals]", "[arrivals]\nmax_in_flight = 2")
    scenario += '[[event]]\nkind = "command"\nname = "e"\nat = 0.5\n'
    run = Run(tmp_path, scenario, ERRORS_ONLY)
    with stalling_server() as (url, stall):
        stall.after(40)
        ended = run.front(url, "--on-event", "e=echo no such thing >&2; exit 3")
    figures, rows = run.result["calls"]["score"], run.result["objectives"]
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert figures["due"] == 120 == figures["sent"] + figures["errors"]["overflow"]
    assert figures["latency_ms"]["p99"] >= PATIENCE_MS
    assert [(row["met"], row["note"]) for row in rows] == [
        (False, "event 'e': exit status 3 no such thing"),
        (False, f"{figures['errors']['overflow']} overflow"),
    ]


@pytest.mark.parametrize(
    ("scenario", "objectives", "said"),
    [
        ("name = 3", KEPT, "arrivals: Field required"),
        (CALM, "[[objective]]\n", "states no bound"),
        (CALM, '[[objective]]\nendpoint = "x"\nerror_budget = 0\n', "the scenario has: *, lookup"),
    ],
)
def test_wrong_files_are_exit_status_2(
    tmp_path: Path, scenario: str, objectives: str, said: str
) -> None:
    ended = Run(tmp_path, scenario, objectives).front("http://127.0.0.1:1")
    assert ended.returncode == 2
    assert said in ended.stderr


def _score(seconds: float) -> str:
    return f"""
name = "score"
{PATIENCE}
process = "constant"
stages = [{{ seconds = {seconds}, rate = 40 }}]
[[mix]]
kind = "score"
"""


class Stall:
    """Makes the server stop for a while at a request of its own choosing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left = -1
        self.seen = 0
        self._until = 0.0

    def after(self, requests: int) -> None:
        self._left = requests

    def wait(self) -> None:
        with self._lock:
            self.seen += 1
            if self._left == 0:
                self._until = time.monotonic() + STALL_S
            self._left -= 1
            until = self._until
        time.sleep(max(0.0, until - time.monotonic()))


@contextmanager
def stalling_server() -> Iterator[tuple[str, Stall]]:
    """A scoring service that answers at once but while it stalls."""
    stall = Stall()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # A head and a body in two segments wait for each other's acknowledgement otherwise.
        wbufsize = -1

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            stall.wait()
            body = b'{"found": {}}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", stall
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
