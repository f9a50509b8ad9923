"""One test in Locust's terms: prepared, shared out, awaited, judged.

`Control` is in the process that decides (the master, or the only one), `Share` in each that sends.
"""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import gevent
import orjson
from rich.console import Console

from embark.errors import EmbArkError
from loadtests.calls import Caller, served_models
from loadtests.driver import Driver, Observe
from loadtests.options import Test
from loadtests.page import page
from loadtests.preparing import api_key, prepare
from loadtests.records import Records
from loadtests.result import Outcome, outcome, show, to_data
from loadtests.scenario import CommandEvent, parse_scenario
from loadtests.sender import Sender

PLAN: Final = "loadtests_plan"
"""Name of the option in which a master sends its workers what is to be done."""

_START_SECONDS = 30
_COMMAND_SECONDS = 60
_log = logging.getLogger("loadtests")


class Control:
    """The part of a test that decides.

    Args:
        test: what is to be done.
        host: the gateway's URL.
        score_host: the scoring service's.
    """

    def __init__(self, test: Test, host: str, score_host: str) -> None:
        self._test: Final = test
        self._host: Final = host
        self._score_host: Final = score_host
        self._parts: dict[str, Records] = {}
        self._workers: list[str] = []
        self._started: float | None = None
        self._failed_event = ""
        self.failed = ""
        self.outcome: Outcome | None = None

    def begin(self, workers: Sequence[str]) -> dict[str, Any] | None:
        """Prepare the service and start the clock; return the plan, None if it cannot begin.

        Args:
            workers: ids of the processes that will send.
        """
        try:
            served = prepare(self._test.scenario, self._host)
        except EmbArkError as error:
            self.failed = error.message
            return None
        self._parts.clear()
        self._workers = list(workers)
        self._started = time.monotonic()
        for event in self._test.scenario.event:
            if isinstance(event, CommandEvent):
                gevent.spawn_later(event.at, self._run, event)
        return {
            "scenario": self._test.text,
            "commands": self._test.commands,
            "served": served,
            "host": self._host,
            "score_host": self._score_host,
            "workers": self._workers,
        }

    def report(self, worker: str, records: Records) -> None:
        """Take what a process has measured so far, in place of what it said before."""
        self._parts[worker] = records

    def is_over(self, alive: Sequence[str]) -> bool:
        """Return whether there is nothing more to wait for.

        Args:
            alive: ids of the processes that still answer.
        """
        if self.failed:
            return True
        if self._started is None:
            return False
        left = [one for one in self._workers if not self._is_done(one)]
        arrivals = self._test.scenario.arrivals
        longest = arrivals.seconds + arrivals.timeout_ms / 1000 * 2 + _START_SECONDS
        return not any(one in alive for one in left) or (time.monotonic() > self._started + longest)

    def conclude(self, report: str, result: str) -> int:
        """Judge, write the files that are asked for, and return the exit status.

        Args:
            report: file for the page, empty for none.
            result: file for the figures, empty for none.

        Returns:
            0 if every objective is met, 1 if one is not, 2 if the test could not begin.
        """
        if self.failed or self._started is None:
            return 2
        unfinished = [one for one in self._workers if not self._is_done(one)]
        lost = self._failed_event or (
            f"{len(unfinished)} of {len(self._workers)} processes did not come to the end"
            if unfinished
            else ""
        )
        self.outcome = outcome(self._test, self._parts.values(), lost)
        if result:
            figures = orjson.dumps(to_data(self.outcome), option=orjson.OPT_INDENT_2)
            _write(Path(result), figures)
        if report:
            _write(Path(report), page(self.outcome).encode())
        return 0 if self.outcome.met else 1

    def show(self, console: Console) -> None:
        """Print the outcome, or why there is none."""
        if self.outcome is not None:
            show(self.outcome, console)
        else:
            console.print(f"the test did not begin: {self.failed or 'it was stopped before'}")

    def _is_done(self, worker: str) -> bool:
        return worker in self._parts and self._parts[worker].done

    def _run(self, event: CommandEvent) -> None:
        assert event.command is not None
        try:
            ended = subprocess.run(
                event.command,
                shell=True,
                check=False,
                capture_output=True,
                text=True,
                timeout=_COMMAND_SECONDS,
            )
        except subprocess.TimeoutExpired:
            self._failed_event = f"event {event.name!r}: no end within {_COMMAND_SECONDS} s"
            return
        if ended.returncode:
            said = ended.stderr.strip()[-200:]
            self._failed_event = f"event {event.name!r}: exit status {ended.returncode} {said}"
        _log.info("event %s: %s", event.name, event.command)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


class Share:
    """The part of a test that one process sends.

    Args:
        plan: as `Control.begin` made it.
        worker: this process's id.
        observe: told of each request.
    """

    def __init__(self, plan: dict[str, Any], worker: str, observe: Observe) -> None:
        scenario = parse_scenario(plan["scenario"], "the master's scenario", plan["commands"])
        served = served_models(plan["served"], scenario.models)
        index = plan["workers"].index(worker)
        arrivals = scenario.arrivals
        self._sender: Final = Sender(
            plan["host"],
            plan["score_host"],
            arrivals.timeout_ms / 1000,
            arrivals.max_in_flight,
            api_key(),
        )
        self._driver: Final = Driver(
            scenario,
            Caller(scenario, served, index),
            self._sender,
            index=index,
            count=len(plan["workers"]),
            observe=observe,
        )
        self._began = False

    @property
    def records(self) -> Records:
        """What was measured so far."""
        return self._driver.records

    def run(self) -> None:
        """Send the whole share, once: a second call does nothing."""
        if not self._began:
            self._began = True
            self._driver.run()
            self._sender.close()
