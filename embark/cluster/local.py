"""The cluster in one folder: started, asked, stopped. Its processes outlive the caller."""

from __future__ import annotations

import contextlib
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from embark.child import Report
from embark.cluster import process
from embark.cluster.cassandra import DATA_CENTER, CassandraNode
from embark.cluster.kafka import KafkaBroker
from embark.cluster.lock import locked
from embark.cluster.plan import (
    DEFAULT_CASSANDRA_PORT,
    DEFAULT_KAFKA_PORT,
    DEFAULT_NODES,
    PLAN_FILE,
    Plan,
    draw,
    load,
    save,
)
from embark.cluster.starting import LOG_FILE, STOP_SECONDS, Part, Starting
from embark.errors import ConfigurationError

DEFAULT_FOLDER: Final = Path("embark-cluster")

_DEFAULTS = {
    "nodes": DEFAULT_NODES,
    "cassandra_port": DEFAULT_CASSANDRA_PORT,
    "kafka_port": DEFAULT_KAFKA_PORT,
}
_LOCK_FILE = "cluster.lock"
_LOCK_SECONDS = 300.0


@dataclass(frozen=True)
class Addresses:
    """Where clients connect."""

    contact_points: tuple[str, ...]
    cassandra_port: int
    datacenter: str
    kafka: str


@dataclass(frozen=True)
class PartStatus:
    """One part now.

    Attributes:
        part: `cassandra-1` to `cassandra-3`, or `kafka`.
        pid: its process; None if there is none.
        state: `up`; `silent`, it runs and does not answer: starting, or frozen; or `down`.
        since: when its process started; None if there is none.
    """

    part: str
    address: str
    pid: int | None
    state: str
    since: datetime | None
    log: Path


class LocalCluster:
    """One or three Cassandra nodes and a Kafka broker, on loopback.

    Several clusters run side by side if their folders and ports differ.

    Args:
        folder: configuration, data and logs; made if missing.
        nodes: how many Cassandra nodes, 1 or 3; None takes what the folder has, else 1.
        cassandra_port: where all nodes listen; None takes what the folder has, else 9042.
        kafka_port: where the broker listens; None takes what the folder has, else 9092.
    """

    def __init__(
        self,
        folder: Path = DEFAULT_FOLDER,
        *,
        nodes: int | None = None,
        cassandra_port: int | None = None,
        kafka_port: int | None = None,
    ) -> None:
        self.folder: Final = folder.resolve()
        options = {"nodes": nodes, "cassandra_port": cassandra_port, "kafka_port": kafka_port}
        self._asked: Final = {name: one for name, one in options.items() if one is not None}

    def start(self, report: Report = lambda line: None) -> Addresses:
        """Start what does not run, on the data that are there; returns when all of it serves.

        What runs is left alone. If a part fails, what this call started is stopped again.

        Args:
            report: told of each step.

        Raises:
            ConfigurationError: Java or Maven is missing, a port is taken, or the folder holds
                another cluster than asked for.
            Unavailable: a server ended, or did not serve in time; the message has its last lines.
        """
        self._claim()
        with self._locked(report):
            plan = self._plan()
            nodes, broker = self._parts(plan)
            starting = Starting(self.folder, nodes, broker, report)
            starting.check()
            save(plan, self.folder)
            starting.run()
        return Addresses(
            contact_points=plan.hosts,
            cassandra_port=plan.cassandra_port,
            datacenter=DATA_CENTER,
            kafka=f"{broker.host}:{broker.port}",
        )

    def status(self) -> list[PartStatus]:
        """Return each part; none if nothing was ever started here."""
        plan = load(self.folder)
        if plan is None:
            return []
        nodes, broker = self._parts(plan)
        running = process.running(self.folder)
        parts: list[Part] = [*nodes, broker]
        return [_status(part, running.get(part.name)) for part in parts]

    def pid(self, part: str) -> int | None:
        """Return the process of a part, `cassandra-1` to `cassandra-3` or `kafka`; None if down."""
        found = process.running(self.folder).get(part)
        return None if found is None else found.pid

    def stop(self, report: Report = lambda line: None, *, purge: bool = False) -> list[str]:
        """End every process of the cluster; idempotent. Returns the parts that ran.

        Args:
            report: told of each step.
            purge: remove all that `start` made; else the data stay.
        """
        if not any((self.folder / name).exists() for name in (PLAN_FILE, _LOCK_FILE)):
            # The folder may have been removed under running servers; or it is not a cluster's.
            return self._end(report)
        with self._locked(report):
            stopped = self._end(report)
            if purge:
                self._remove()
                report(f"{self.folder}: removed")
        return stopped

    def _end(self, report: Report) -> list[str]:
        running = process.running(self.folder)
        killed = process.end(list(running.values()), STOP_SECONDS)
        for name in sorted(running):
            how = f"killed, it did not end within {STOP_SECONDS:g} s"
            report(f"{name}: {how if name in killed else 'stopped'}")
        return sorted(running)

    def _remove(self) -> None:
        plan = load(self.folder)
        if plan is not None:
            nodes, broker = self._parts(plan)
            for folder in (*(node.folder for node in nodes), broker.folder):
                shutil.rmtree(folder, ignore_errors=True)
        for name in (PLAN_FILE, _LOCK_FILE):
            (self.folder / name).unlink(missing_ok=True)
        # Something of the user's may be in it.
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _claim(self) -> None:
        """Make the folder, or refuse one that is used for something else."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            names = {entry.name for entry in self.folder.iterdir()}
        except OSError as error:
            raise ConfigurationError(
                f"{self.folder} cannot be used ({error.strerror}); choose another folder with"
                " --data"
            ) from None
        if names and not names & {PLAN_FILE, _LOCK_FILE}:
            raise ConfigurationError(
                f"{self.folder} is not empty and holds no cluster; choose another folder with"
                " --data"
            )

    def _plan(self) -> Plan:
        plan = load(self.folder)
        if plan is None:
            return draw(**{**_DEFAULTS, **self._asked})
        for name, asked in self._asked.items():
            option = f"--{name.replace('_', '-')}"
            if asked != getattr(plan, name):
                raise ConfigurationError(
                    f"the cluster in {self.folder} has {option} {getattr(plan, name)}, not {asked};"
                    f" leave {option} out, choose another folder with --data, or remove this"
                    " cluster and its data with `embark cluster stop --purge`"
                )
        return plan

    def _parts(self, plan: Plan) -> tuple[list[CassandraNode], KafkaBroker]:
        nodes = [
            CassandraNode(plan, number, self.folder / f"cassandra-{number}")
            for number in range(1, plan.nodes + 1)
        ]
        return nodes, KafkaBroker(plan, self.folder / KafkaBroker.name)

    def _locked(self, report: Report) -> AbstractContextManager[None]:
        doing = "starting or stopping this cluster"
        return locked(self.folder / _LOCK_FILE, _LOCK_SECONDS, doing, report)


def _status(part: Part, found: process.Process | None) -> PartStatus:
    state = "down" if found is None else "up" if part.answers() else "silent"
    return PartStatus(
        part=part.name,
        address=f"{part.host}:{part.port}",
        pid=None if found is None else found.pid,
        state=state,
        since=None if found is None else found.since,
        log=part.folder / LOG_FILE,
    )
