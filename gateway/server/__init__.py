"""The HTTP server under gunicorn's master: connections in a loop, requests in threads.

A thread is given a request once it has come in whole, and hands its answer back to the loop when
the client is slow to take it, so that no client holds a thread.

    worker.py      one process: the loop, and its threads
    listeners.py   where clients come in
    connection.py  one connection: what has come, what is still to go
    crowd.py       all connections: who makes room for others
    intake.py      from bytes to a whole request, or a refusal
    framing.py     where a request ends in the bytes
    serving.py     what a thread does with a request
    load.py        how long a request would wait: what is turned away at once
    refusals.py    answers that need no application
    tls.py         certificates, renewed without a restart
"""
