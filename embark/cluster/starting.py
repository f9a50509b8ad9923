"""Starting a cluster's parts: the order, the waiting, and what happens when one fails."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Final

from embark.child import Report
from embark.cluster import cassandra, kafka, process
from embark.cluster.cassandra import CassandraNode
from embark.cluster.java import find_java
from embark.cluster.kafka import KafkaBroker
from embark.cluster.maven import fetch_jars
from embark.errors import ConfigurationError, Unavailable
from embark.ports import is_free

Part = CassandraNode | KafkaBroker

STOP_SECONDS: Final = 30.0
LOG_FILE: Final = Path("logs", "server.log")

_OUTPUT_FILE = Path("logs", "output.log")
_READY_SECONDS = 240.0
_PORT_SECONDS = 5.0
_POLL_SECONDS = 0.2
_LOG_LINES, _OUTPUT_LINES = 15, 5
_LINE_CHARACTERS = 300
_STACK_FRAME = "\tat "


class Starting:
    """One start of what does not run.

    Args:
        folder: the cluster's folder.
        nodes: all Cassandra nodes.
        broker: the Kafka broker.
        report: told of each step.
    """

    def __init__(
        self, folder: Path, nodes: list[CassandraNode], broker: KafkaBroker, report: Report
    ) -> None:
        self._folder: Final = folder
        self._nodes: Final = nodes
        self._broker: Final = broker
        self._report: Final = report
        self._java = Path()
        self._jars: dict[type[Part], Path] = {}
        self._running = set(process.running(folder))
        self._launched: dict[str, float] = {}
        self._serving: set[str] = set()

    def check(self) -> None:
        """Return if what is missing could start: Java, jars, ports.

        Raises:
            ConfigurationError: it could not.
        """
        missing = [part for part in self._parts() if part.name not in self._running]
        if not missing:
            return
        self._java = find_java()
        self._jars[CassandraNode] = fetch_jars(cassandra.JARS, cassandra.ARTEFACTS, self._report)
        self._jars[KafkaBroker] = fetch_jars(kafka.JARS, kafka.ARTEFACTS, self._report)
        for part in missing:
            _require_free(part)

    def run(self) -> None:
        """Start what is missing; returns when all parts serve.

        Raises:
            ConfigurationError: a part cannot be started.
            Unavailable: a part ended, or did not serve in time.
        """
        try:
            for part in self._parts():
                self._start(part)
            for part in self._parts():
                self._wait(part)
        except BaseException:
            self._report("stopping what this start began")
            running = process.running(self._folder)
            process.end([running[name] for name in self._launched if name in running], STOP_SECONDS)
            raise

    def _start(self, part: Part) -> None:
        if part.name in self._running:
            self._report(f"{part.name}: runs")
            return
        self._report(f"{part.name}: starting")
        began = time.monotonic()
        shutil.rmtree(part.folder / "tmp", ignore_errors=True)
        for name in ("tmp", "logs"):
            (part.folder / name).mkdir(parents=True, exist_ok=True)
        part.configure()
        jars = self._jars[type(part)]
        if isinstance(part, KafkaBroker):
            part.format(self._java, jars)
        # Noted first: an interruption in between must stop it too.
        self._launched[part.name] = began
        self._running.add(part.name)
        command = part.command(self._java, jars, process.marks(self._folder, part.name))
        process.launch(command, part.folder, part.folder / _OUTPUT_FILE)

    def _wait(self, part: Part) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not self._serves(part):
            # Its own wait comes last; asking now reports it in time.
            self._serves(self._broker)
            running = process.running(self._folder)
            for other in self._parts():
                if other.name in self._running and other.name not in running:
                    raise Unavailable(f"{other.name} ended; {_last_lines(other)}")
            if time.monotonic() >= deadline:
                silent = [other.name for other in self._parts() if not other.answers()]
                raise Unavailable(
                    f"{part.name} does not serve within {_READY_SECONDS:g} s (without an answer:"
                    f" {', '.join(silent) or 'none'}); {_last_lines(part)}"
                )
            time.sleep(_POLL_SECONDS)

    def _serves(self, part: Part) -> bool:
        if part.name in self._serving:
            return True
        if isinstance(part, KafkaBroker):
            serves = part.answers()
        else:
            ring = [node for node in self._nodes if node.name in self._running]
            serves = all(node.answers(len(ring)) for node in reversed(ring))
        if serves:
            self._serving.add(part.name)
            if (began := self._launched.get(part.name)) is not None:
                took = time.monotonic() - began
                self._report(f"{part.name}: serves {part.host}:{part.port} after {took:.1f} s")
        return serves

    def _parts(self) -> list[Part]:
        return [*self._nodes, self._broker]


def _require_free(part: Part) -> None:
    # A process that was just killed may hold its ports a moment longer.
    deadline = time.monotonic() + _PORT_SECONDS
    for host, port in part.listens:
        while not is_free(host, port):
            if time.monotonic() >= deadline:
                raise ConfigurationError(
                    f"{part.name} cannot listen on {host}:{port}, another process does; end it, or"
                    " make a cluster with other ports (--cassandra-port, --kafka-port) in another"
                    " folder (--data)"
                )
            time.sleep(_POLL_SECONDS)


def _last_lines(part: Part) -> str:
    lines = [
        *_tail(part.folder / _OUTPUT_FILE, _OUTPUT_LINES),
        *_tail(part.folder / LOG_FILE, _LOG_LINES),
    ]
    return f"the end of its logs in {part.folder / 'logs'}:\n  " + "\n  ".join(lines)


def _tail(file: Path, count: int) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    told = [line[:_LINE_CHARACTERS] for line in lines if not line.startswith(_STACK_FRAME)]
    return told[-count:]
