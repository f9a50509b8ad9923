"""`embark cluster`: a real Cassandra and Kafka on this machine, for development and tests."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from embark.cli.output import console, progress_console, show_json
from embark.cluster.local import DEFAULT_FOLDER, LocalCluster, PartStatus
from embark.cluster.plan import (
    DEFAULT_CASSANDRA_PORT,
    DEFAULT_KAFKA_PORT,
    DEFAULT_NODES,
    NODE_COUNTS,
)


def add_parser(commands: Any) -> None:
    """Declare the command and its three."""
    parser = commands.add_parser(
        "cluster",
        help="run Cassandra and Kafka here, for development and tests",
        description="Run Cassandra and Kafka on this machine, for development and tests, from their"
        " Maven artefacts. Needs Java 17, and Maven the first time.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    start = actions.add_parser(
        "start",
        help="start what does not run",
        description="Start what does not run, in the background; ends when all of it serves. What"
        " a first start chose stays: later ones need no options.",
    )
    start.add_argument(
        "--nodes",
        type=int,
        choices=NODE_COUNTS,
        help=f"Cassandra nodes, on 127.0.0.1 to 127.0.0.3 (default: {DEFAULT_NODES})",
    )
    start.add_argument(
        "--cassandra-port",
        type=int,
        help=f"where all nodes listen (default: {DEFAULT_CASSANDRA_PORT})",
    )
    start.add_argument(
        "--kafka-port", type=int, help=f"where Kafka listens (default: {DEFAULT_KAFKA_PORT})"
    )
    start.set_defaults(run=_start)
    status = actions.add_parser(
        "status",
        help="say which parts are up",
        description="Say which parts are up, down, or silent: running without an answer. Exits 1"
        " unless all are up.",
    )
    status.set_defaults(run=_status)
    stop = actions.add_parser(
        "stop", help="stop all parts", description="Stop all parts; their data stay."
    )
    stop.add_argument("--purge", action="store_true", help="remove the data too")
    stop.set_defaults(run=_stop)
    for action in (start, status, stop):
        action.add_argument(
            "--data",
            type=Path,
            default=DEFAULT_FOLDER,
            help=f"folder of data and logs (default: {DEFAULT_FOLDER})",
        )
        action.add_argument("--json", action="store_true", help="print JSON")


def _start(options: argparse.Namespace) -> int:
    cluster = LocalCluster(
        options.data,
        nodes=options.nodes,
        cassandra_port=options.cassandra_port,
        kafka_port=options.kafka_port,
    )
    with progress_console.status("starting"):
        addresses = cluster.start(_report)
    if options.json:
        show_json(asdict(addresses))
    else:
        hosts = ",".join(addresses.contact_points)
        console.print(
            f"Cassandra {hosts} port {addresses.cassandra_port}, data center"
            f" {addresses.datacenter}; Kafka {addresses.kafka}",
            soft_wrap=True,
        )
    return 0


def _status(options: argparse.Namespace) -> int:
    cluster = LocalCluster(options.data)
    parts = cluster.status()
    if options.json:
        show_json({"parts": [_as_json(part) for part in parts]})
    elif parts:
        _show_table(parts)
    else:
        console.print(
            f"no cluster was started in {cluster.folder}; `embark cluster start` does",
            soft_wrap=True,
        )
    return 0 if parts and all(part.state == "up" for part in parts) else 1


def _stop(options: argparse.Namespace) -> int:
    stopped = LocalCluster(options.data).stop(_report, purge=options.purge)
    if options.json:
        show_json({"stopped": stopped})
    return 0


def _report(line: str) -> None:
    progress_console.print(line, soft_wrap=True)


def _as_json(part: PartStatus) -> dict[str, Any]:
    return {**asdict(part), "log": str(part.log)}


def _show_table(parts: list[PartStatus]) -> None:
    table = Table(box=None)
    for name in ("part", "address", "pid", "state", "since"):
        table.add_column(name, no_wrap=True)
    table.add_column("log", overflow="fold")
    for part in parts:
        since = "" if part.since is None else f"{part.since.astimezone():%Y-%m-%d %H:%M:%S}"
        pid = "" if part.pid is None else str(part.pid)
        table.add_row(part.part, part.address, pid, part.state, since, str(part.log))
    console.print(table)
