"""The loop of a client process: told on standard input what to send, it says how long each took.

    {"do": "prepare", ...}              opens, loads, warms up      → {"ok": true}
    {"do": "run", "seconds": 0.5}       sends until the time is up  → {"took": [0.0012, …]}

A request that fails ends in {"error": "…"}. Standard library only: this runs in every environment.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Send = Callable[[Any], None]
"""Sends one of the requests that were loaded; returns when its answer is there and is whole."""


def serve(connect: Callable[[dict[str, Any], list[Any]], tuple[Send, list[Any]]]) -> None:
    """Obey until standard input ends.

    Args:
        connect: takes what `prepare` says and the requests of its file; returns what sends, and
            the requests in the form in which that takes them.
    """
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    client = _Client()
    for line in sys.stdin:
        command = json.loads(line)
        try:
            if command["do"] == "prepare":
                client.prepare(command, connect)
                answer: dict[str, Any] = {"ok": True}
            else:
                answer = {"took": client.run(command["seconds"])}
        except Exception as error:  # whatever it is, whoever asked is to know
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


class _Client:
    def __init__(self) -> None:
        self._close: Callable[[], None] = lambda: None
        self._send: Send = lambda request: None
        self._requests: list[Any] = []
        self._repeats = True

    def prepare(
        self,
        command: dict[str, Any],
        connect: Callable[[dict[str, Any], list[Any]], tuple[Send, list[Any]]],
    ) -> None:
        self._close()
        loaded = pickle.loads(Path(command["requests"]).read_bytes())
        self._send, requests = connect(command, loaded)
        self._close = getattr(self._send, "close", lambda: None)
        self._repeats = command["repeats"]
        # Requests that are sent once only cannot be sent again to warm up: some are used up.
        for number in range(command["warm_up"]):
            self._send(requests[number % len(requests)])
        self._requests = requests if self._repeats else requests[command["warm_up"] :]

    def run(self, seconds: float) -> list[float]:
        took: list[float] = []
        clock, send, requests = time.perf_counter, self._send, self._requests
        most = None if self._repeats else len(requests)
        end = clock() + seconds
        while (started := clock()) < end and (most is None or len(took) < most):
            send(requests[len(took) % len(requests)])
            took.append(clock() - started)
        if not self._repeats:
            del requests[: len(took)]
        return took
