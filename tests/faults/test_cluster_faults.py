"""Parts killed, stopped and cut off under a steady load, on the real servers.

`FAULT_ROUNDS` says how often each fault is made.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from export.reference import Reference
from tests.faults.conftest import ROUNDS, Row
from tests.faults.history import Load, lost, wrong
from tests.support.deployment import Deployment
from tests.support.proxy import Toxic
from tests.support.slow_disk import SlowDisk
from tests.support.stack import wait_until

pytestmark = [pytest.mark.stack, pytest.mark.cluster, pytest.mark.timeout(1800)]

# Longer than the session of a consumer, so that its partitions move while it is stopped.
STOPPED_S = 9.0
CUT_OFF_S = 6.0
HEAL_S = 120.0
SLOW_SYNC_S = 0.5

_tags = itertools.count()

Act = Callable[[Deployment], None]


@dataclass(frozen=True)
class Fault:
    """What is done, for how long it lasts, and what ends it."""

    harm: Act
    lasts_s: float
    heal: Act


def killed(part: str) -> Fault:
    """SIGKILL; whoever supervises the part starts it again."""
    return Fault(lambda one: one.kill(part), 3.0, _restart_servers)


def stopped(part: str, lasts_s: float = STOPPED_S) -> Fault:
    """It is there and does nothing, until it is let go on."""
    return Fault(lambda one: one.freeze(part), lasts_s, lambda one: one.thaw(part))


def toxic(proxy: str, kind: Toxic) -> Fault:
    """Harm what passes a proxy."""

    def set_to(what: Toxic) -> Act:
        def act(one: Deployment) -> None:
            passes = getattr(one, proxy)
            assert passes is not None
            passes.toxic = what

        return act

    return Fault(set_to(kind), CUT_OFF_S, set_to(Toxic()))


def _restart_servers(one: Deployment) -> None:
    one.cluster.start(print)


THREE_NODES = {
    "kill-one-of-three-cassandra": killed("cassandra-2"),
    "stop-one-of-three-cassandra": stopped("cassandra-2"),
    "kill-all-cassandra": killed("cassandra"),
    "stop-all-cassandra": stopped("cassandra"),
    "kill-kafka": killed("kafka"),
    "stop-kafka": stopped("kafka"),
    "kill-triton": killed("triton"),
    "stop-triton": stopped("triton"),
    "kill-consumer": killed("consumer-1"),
    "stop-consumer": stopped("consumer-1"),
    "kill-gateway": killed("gateway-1"),
    "stop-gateway": stopped("gateway-1", 3.0),
}
PROXIED = {
    "cassandra-latency-20ms": toxic("to_cassandra", Toxic(latency_s=0.02, jitter_s=0.02)),
    "cassandra-latency-300ms": toxic("to_cassandra", Toxic(latency_s=0.3, jitter_s=0.1)),
    "cassandra-slow-line": toxic("to_cassandra", Toxic(bytes_per_s=20_000)),
    "cassandra-resets": toxic("to_cassandra", Toxic(reset_after_s=0.5)),
    "cassandra-black-hole": toxic("to_cassandra", Toxic(black_hole=True)),
    "cassandra-refuses": toxic("to_cassandra", Toxic(refuse=True, reset_after_s=0.1)),
    "retina-latency-300ms": toxic("to_retina", Toxic(latency_s=0.3, jitter_s=0.1)),
    "retina-resets": toxic("to_retina", Toxic(reset_after_s=0.5)),
    "retina-black-hole": toxic("to_retina", Toxic(black_hole=True)),
    "kill-the-only-cassandra": killed("cassandra"),
}
SHORT = {
    "stop-one-of-three-cassandra",
    "kill-kafka",
    "kill-triton",
    "kill-consumer",
    "stop-consumer",
    "kill-gateway",
    "cassandra-resets",
    "cassandra-black-hole",
    "retina-black-hole",
}
"""What every run makes; `make test-faults` makes all."""


def cases(faults: Mapping[str, Fault]) -> list[Any]:
    """Faults as a test's parameters, by name."""
    return [
        pytest.param(fault, id=name, marks=() if name in SHORT else pytest.mark.full)
        for name, fault in faults.items()
    ]


@pytest.mark.parametrize("seconds", [pytest.param(SLOW_SYNC_S, id="slow-disk")])
def test_on_a_slow_disk(
    three_nodes: Deployment, disk: SlowDisk, seconds: float, row: Row, minilm: Reference
) -> None:
    """Writes that wait for the disk are not given up, to come again, more and more of them.

    First of all: servers that are started again are not on that disk.
    """
    nothing = Fault(lambda one: None, STOPPED_S, lambda one: None)
    with disk.slowed(seconds):
        run_rounds(three_nodes, nothing, row, minilm)


@pytest.mark.parametrize("fault", cases(THREE_NODES))
def test_on_three_nodes(three_nodes: Deployment, fault: Fault, row: Row, minilm: Reference) -> None:
    run_rounds(three_nodes, fault, row, minilm)


@pytest.mark.parametrize("fault", cases(PROXIED))
def test_behind_proxies(proxied: Deployment, fault: Fault, row: Row, minilm: Reference) -> None:
    run_rounds(proxied, fault, row, minilm)


def run_rounds(deployment: Deployment, fault: Fault, row: Row, reference: Reference) -> None:
    """Make the fault under load, as often as asked, and check the history of each round.

    The load has ended when what it left is waited for: else it would ask again for what was lost.
    """
    rng = random.Random(row.fault)
    for _ in range(ROUNDS):
        with Load(deployment.urls, f"{row.fault} {next(_tags)}") as load:
            time.sleep(rng.uniform(1, 3))
            fault.harm(deployment)
            try:
                time.sleep(fault.lasts_s)
            finally:
                fault.heal(deployment)
            wait_until(deployment.is_well, HEAL_S, "the deployment is well again")
            time.sleep(1)
        row.add(load.tally, lost(load, HEAL_S), wrong(load, reference))
    if row.lost:
        print(deployment.events())
    assert row.requests > 20 * row.rounds
    assert row.accepted > 0
    assert (row.lost, row.wrong, row.server_errors) == (0, 0, 0)
    if "gateway" not in row.fault:
        assert row.unanswered == 0
