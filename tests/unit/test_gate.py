"""The gate before Retina, and what it tells of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import cast

import pytest
from prometheus_client import REGISTRY

from consumers.gate import Gate
from embark.retina import Retina
from tests.support.stack import wait_until


class Readiness:
    """Stands for Triton: ready or not, as a test says."""

    def __init__(self) -> None:
        self.is_ready = False

    def ready(self) -> bool:
        return self.is_ready


@pytest.fixture
def readiness() -> Readiness:
    return Readiness()


@pytest.fixture
def gate(readiness: Readiness) -> Iterator[Gate]:
    opened = Gate(cast(Retina, readiness))
    yield opened
    opened.close()


def told() -> str:
    values = {}
    for state in ("ready", "away"):
        value = REGISTRY.get_sample_value("embark_consumers", {"retina": state})
        assert value is not None
        values[state] = value
    if sorted(values.values()) != [0, 1]:  # one consumer, and one value is told after the other
        return "changing"
    return next(state for state, value in values.items() if value)


def test_it_tells_what_it_sees_of_retina_asked_or_not(readiness: Readiness, gate: Gate) -> None:
    assert told() == "away"
    readiness.is_ready = True
    assert gate.pass_through()
    wait_until(lambda: told() == "ready", 60, "it is told to be ready")
    readiness.is_ready = False  # and nobody asks anything
    wait_until(lambda: told() == "away", 60, "it is told to be away")
    readiness.is_ready = True
    wait_until(lambda: told() == "ready", 60, "it is back")


def test_a_suspicion_while_it_opens_shuts_it(readiness: Readiness, gate: Gate) -> None:
    suspecting: list[threading.Thread] = []
    done = threading.Event()

    def suspect() -> None:
        readiness.is_ready = False
        gate.suspect()
        done.set()

    class Interrupted(threading.Event):
        def is_set(self) -> bool:
            before = super().is_set()
            if threading.current_thread() is gate._prober and not suspecting:
                suspecting.append(threading.Thread(target=suspect))
                suspecting[0].start()
                done.wait(0.5)  # between the look and the opening; with a lock it cannot be
            return before

    gate._suspected = Interrupted()
    gate._suspected.set()
    readiness.is_ready = True
    assert done.wait(30)
    suspecting[0].join()
    wait_until(lambda: told() == "away", 60, "it has looked")
    assert not gate._open.is_set()


def test_only_a_failed_call_shuts_it(readiness: Readiness, gate: Gate) -> None:
    readiness.is_ready = True
    assert gate.pass_through()
    readiness.is_ready = False
    wait_until(lambda: told() == "away", 60, "it has looked")
    assert gate.pass_through()  # open still: what comes next will find out
    gate.suspect()
    readiness.is_ready = True
    assert gate.pass_through()
