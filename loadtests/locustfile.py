"""The load test as Locust runs it: alone, or as a master with workers on many machines.

    locust -f loadtests/locustfile.py --headless --scenario steady --host http://127.0.0.1:8080

One Locust user is one process's share of an open-loop schedule, not a person: its requests do not
wait for each other. A master sends its workers the scenario, so they need no files of it.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import gevent
import locust
from locust import LoadTestShape, User, task
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner
from rich.console import Console

from embark.errors import EmbArkError
from loadtests.control import PLAN, Control, Share
from loadtests.options import add_options, read_test
from loadtests.records import Records

_RECORDS = "loadtests_records"
_WRONG_FILES = 2
_IDLE_SECONDS = 3600.0
_WIDE = 150


class _State:
    """What Locust's listeners share: it calls them as functions, with nothing of ours."""

    control: Control | None = None
    share: Share | None = None


_state = _State()


class Arrivals(User):
    """Sends this process's share of the schedule."""

    @task
    def send(self) -> None:
        """Run to the end of the schedule, then wait to be stopped."""
        if _state.share is not None:
            _state.share.run()
            _tell(self.environment.runner, _state.share.records)
        gevent.sleep(_IDLE_SECONDS)


class Shape(LoadTestShape):
    """One user in each process, until all have sent what they had to."""

    _users: int | None = None

    def tick(self) -> tuple[int, float] | None:
        """Return how many users there are to be, None at the end."""
        control, runner = _state.control, self.runner
        if control is None or runner is None:
            return None
        workers = _workers(runner)
        if self._users is None:
            # For good: a worker that is lost is not made up for, but reported.
            self._users = len(workers)
        return None if control.is_over(workers) else (self._users, self._users or 1)


def _declare(parser: Any) -> None:
    add_options(parser)


def _open(environment: Any, runner: Any, **_: object) -> None:
    if isinstance(runner, WorkerRunner):
        environment.events.report_to_master.add_listener(_report)
        return
    options = _options(environment)
    try:
        if not environment.host:
            raise EmbArkError("--host is needed: the gateway's URL")
        test = read_test(options)
    except EmbArkError as error:
        print(f"loadtests: {error.message}", file=sys.stderr)
        sys.exit(_WRONG_FILES)
    _state.control = Control(test, environment.host, options.score_host or environment.host)
    environment.events.worker_report.add_listener(_receive)
    if isinstance(runner, MasterRunner):
        runner.register_message(_RECORDS, _receive_last)


def _begin(environment: Environment, **_: object) -> None:
    runner, options = environment.runner, _options(environment)
    if _state.control is not None:
        # Locust sends a master's unknown options to its workers with the order to start.
        setattr(options, PLAN, _state.control.begin(_workers(runner)))
    plan = getattr(options, PLAN, None)
    if plan is not None and not isinstance(runner, MasterRunner):
        _state.share = Share(plan, _worker_id(runner), _observe(environment))


def _conclude(environment: Environment, **_: object) -> None:
    environment.process_exit_code = 0
    if _state.control is not None:
        options = _options(environment)
        if _state.share is not None:
            _state.control.report(_worker_id(environment.runner), _state.share.records)
        environment.process_exit_code = _state.control.conclude(options.report, options.result)


def _show(exit_code: int, **_: object) -> None:
    if _state.control is not None:
        console = Console(highlight=False)
        _state.control.show(console if console.is_terminal else Console(width=_WIDE))


def _report(client_id: str, data: dict[str, Any]) -> None:
    if _state.share is not None:
        data[_RECORDS] = _state.share.records.to_data()


def _receive(client_id: str, data: dict[str, Any]) -> None:
    if _state.control is not None and _RECORDS in data:
        _state.control.report(client_id, Records.from_data(data[_RECORDS]))


def _receive_last(msg: Any, **_: object) -> None:
    _receive(msg.node_id, {_RECORDS: msg.data})


def _tell(runner: Any, records: Records) -> None:
    """Say what was measured to the end, without waiting for Locust's next report."""
    if isinstance(runner, WorkerRunner):
        runner.send_message(_RECORDS, records.to_data())
    elif _state.control is not None:
        _state.control.report(_worker_id(runner), records)


def _observe(environment: Any) -> Any:
    def observe(path: str, label: str, latency_ms: float, size: int, failed: object) -> None:
        environment.events.request.fire(
            request_type="POST",
            name=f"{label} {path}".rstrip(),
            response_time=latency_ms,
            response_length=size,
            exception=failed,
            context={},
        )

    return observe


def _workers(runner: Any) -> list[str]:
    """Return the ids of the processes that send, in an order that stays."""
    if not isinstance(runner, MasterRunner):
        return [_worker_id(runner)]
    clients = runner.clients
    return sorted(one.id for one in clients.ready + clients.spawning + clients.running)


def _worker_id(runner: Any) -> str:
    return str(runner.client_id)


def _options(environment: Environment) -> argparse.Namespace:
    options = environment.parsed_options
    assert isinstance(options, argparse.Namespace)
    return options


# Locust types its events, but not their methods.
_events: Any = locust.events
_events.init_command_line_parser.add_listener(_declare)
_events.init.add_listener(_open)
_events.test_start.add_listener(_begin)
_events.quitting.add_listener(_conclude)
_events.quit.add_listener(_show)
