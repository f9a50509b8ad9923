"""The open loop: sends each request when it is due, whatever became of those before."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import gevent
from gevent.pool import Group

from loadtests.arrivals import schedule
from loadtests.calls import Caller, Statuses, Wire
from loadtests.records import OVERFLOW, Records, Tally
from loadtests.scenario import BackfillEvent, Scenario
from loadtests.sender import CallFailed, Sender

Observe = Callable[[str, str, float, int, Exception | None], None]
"""Told of each request: path, label, latency in ms, bytes of the answer, why it failed."""


class Driver:
    """Runs one process's share of a scenario.

    Args:
        scenario: what is to be sent.
        caller: makes requests and reads answers.
        sender: sends them.
        index, count: which process of how many.
        observe: told of each request.

    Attributes:
        records: what was measured so far.
    """

    def __init__(
        self,
        scenario: Scenario,
        caller: Caller,
        sender: Sender,
        *,
        index: int,
        count: int,
        observe: Observe,
    ) -> None:
        self._scenario: Final = scenario
        self._caller: Final = caller
        self._sender: Final = sender
        self._observe: Final = observe
        self._timeout_ms: Final = scenario.arrivals.timeout_ms
        self._due: Final = schedule(scenario.arrivals, scenario.seed, index, count)
        self._backfills: Final = [
            event for event in scenario.event if index == 0 and isinstance(event, BackfillEvent)
        ]
        self._in_flight: Final = Group()
        self.records: Final = Records.over(scenario.arrivals.seconds)

    def run(self) -> None:
        """Go through the schedule to its end, and wait for the last answers."""
        started = time.perf_counter()
        backfills = [
            gevent.spawn_later(event.at, self._backfill, event) for event in self._backfills
        ]
        for due_s in self._due.tolist():
            # Also when it is late: answers are to be read meanwhile.
            gevent.sleep(max(0.0, started + due_s - time.perf_counter()))
            self._start(started, due_s)
        gevent.sleep(max(0.0, started + self._scenario.arrivals.seconds - time.perf_counter()))
        gevent.joinall(backfills)
        self._in_flight.join()
        self.records.done = True

    def _start(self, started: float, due_s: float) -> None:
        if len(self._in_flight) < self._scenario.arrivals.max_in_flight:
            self._in_flight.spawn(self._call, started, due_s)
            return
        label = self._caller.draw().label
        for tally in self.records.at(label, due_s):
            tally.due += 1
            tally.errors[OVERFLOW] += 1
            tally.latency.add(self._timeout_ms)
        self._observe("", label, self._timeout_ms, 0, CallFailed(OVERFLOW))

    def _call(self, started: float, due_s: float) -> None:
        call = self._caller.draw()
        wire = self._caller.request(call, due_s)
        sent = time.perf_counter()
        statuses, size, failure = self._exchange(wire)
        ended = time.perf_counter()
        if failure is None and (ended - sent) * 1000 > self._timeout_ms:
            failure = CallFailed("timeout")
        latency_ms = (ended - started - due_s) * 1000
        for tally in self.records.at(call.label, due_s):
            tally.due += 1
            tally.sent += 1
            tally.latency.add(latency_ms)
            tally.lag.add((sent - started - due_s) * 1000)
            if failure is not None:
                tally.errors[str(failure)] += 1
            for model, counts in statuses.items():
                tally.items.setdefault(model, Counter()).update(counts)
        self._observe(wire.path, call.label, latency_ms, size, failure)

    def _exchange(self, wire: Wire) -> tuple[Statuses, int, Exception | None]:
        try:
            answer = self._sender.post(wire)
            return self._caller.statuses(wire, answer), len(answer), None
        except CallFailed as failure:
            return {}, 0, failure
        except ValueError:
            return {}, 0, CallFailed("unreadable answer")

    def _backfill(self, event: BackfillEvent) -> None:
        """Queue bulk work beside the schedule; its requests are counted under the event's name."""
        for wire in self._caller.backfill(event):
            began = time.perf_counter()
            _, size, failure = self._exchange(wire)
            took_ms = (time.perf_counter() - began) * 1000
            tally = self.records.calls.setdefault(event.name, Tally())
            tally.due += 1
            tally.sent += 1
            tally.latency.add(took_ms)
            if failure is not None:
                tally.errors[str(failure)] += 1
            self._observe(wire.path, event.name, took_ms, size, failure)
