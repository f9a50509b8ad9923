"""The table of what the faults did, printed at the end."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from embark.cluster.local import LocalCluster
from tests.faults.history import Tally
from tests.support.cluster import running_cluster
from tests.support.deployment import Deployment, deployed
from tests.support.slow_disk import SlowDisk

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "1"))
"""How often each fault is made, at other moments each time."""

REPORT = Path(__file__).parents[2] / ".cache" / "faults.json"


@dataclass
class Row:
    """One fault over all its rounds."""

    fault: str
    rounds: int = 0
    requests: int = 0
    accepted: int = 0
    lost: int = 0
    wrong: int = 0
    server_errors: int = 0
    unanswered: int = 0
    median_ms: float = 0.0
    slowest_ms: float = 0.0

    def add(self, tally: Tally, lost: int, wrong: int) -> None:
        self.rounds += 1
        self.requests += tally.requests
        self.accepted += len(tally.accepted)
        self.lost += lost
        self.wrong += wrong
        self.server_errors += tally.server_errors
        self.unanswered += tally.unanswered
        self.median_ms = max(self.median_ms, 1000 * statistics.median(tally.seconds or [0]))
        self.slowest_ms = max(self.slowest_ms, 1000 * tally.slowest_s)


@pytest.fixture(scope="session")
def disk(tmp_path_factory: pytest.TempPathFactory) -> SlowDisk:
    return SlowDisk(tmp_path_factory.mktemp("disk"))


@pytest.fixture(scope="session")
def three_cassandras(
    tmp_path_factory: pytest.TempPathFactory, disk: SlowDisk
) -> Iterator[LocalCluster]:
    with ExitStack() as stack:
        with disk.beneath():
            folder = tmp_path_factory.mktemp("three")
            cluster = stack.enter_context(running_cluster(folder, nodes=3))
        yield cluster


@pytest.fixture(scope="session")
def three_nodes(
    three_cassandras: LocalCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("deployment"), three_cassandras) as deployment:
        yield deployment


@pytest.fixture(scope="session")
def proxied(
    cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    changes: dict[str, Any] = {
        "consumer__fetch__allow_networks": ["127.0.0.2/32"],
        # Consumers that a test freezes shall not lose their partitions.
        "queue__kafka__session_seconds": 60,
    }
    folder = tmp_path_factory.mktemp("proxied")
    with deployed(folder, cluster, proxied=True, **changes) as deployment:
        yield deployment


_rows: list[Row] = []


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Row:
    made = Row(request.node.callspec.id)
    _rows.append(made)
    return made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _rows:
        return
    write = terminalreporter.write_line
    write("")
    write(
        f"{'fault':34}{'rounds':>7}{'requests':>10}{'accepted':>10}{'lost':>6}{'wrong':>7}"
        f"{'5xx':>5}{'no answer':>11}{'median':>10}{'slowest':>10}"
    )
    for one in _rows:
        write(
            f"{one.fault:34}{one.rounds:7}{one.requests:10}{one.accepted:10}{one.lost:6}"
            f"{one.wrong:7}{one.server_errors:5}{one.unanswered:11}{one.median_ms:7.1f} ms"
            f"{one.slowest_ms:7.0f} ms"
        )
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps([asdict(one) for one in _rows], indent=2) + "\n", "utf-8")
