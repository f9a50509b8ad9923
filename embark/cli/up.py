"""`embark up`: the whole platform in the foreground."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from embark.child import Report
from embark.cli.export import export_all
from embark.cli.output import console, show_json
from embark.cli.schema import apply_schema
from embark.cluster.local import DEFAULT_FOLDER, LocalCluster
from embark.config import Configuration, load
from embark.inputs import Modality
from embark.models import exported_models, load_catalogue
from embark.platform import Platform, only_one

_PROFILES: Mapping[str | None, Mapping[str, str]] = {
    None: {},
    "embedded": {"archive.backend": "lmdb", "queue.backend": "sqlite"},
    "cluster": {"archive.backend": "cassandra", "queue.backend": "kafka"},
}
_EXAMPLES = {
    Modality.TEXT: '"a slow model, served at once"',
    Modality.IMAGE: '{"image_url": "https://example.com/photo.jpg"}',
}
_CLUSTER_ADDRESSES = {"archive.cassandra.contact_points", "queue.kafka.bootstrap"}


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "up",
        help="run the whole platform here",
        description="Run Triton, consumers and gateway in the foreground until Ctrl-C.",
    )
    parser.add_argument(
        "--profile",
        choices=("embedded", "cluster"),
        help="cluster: archive in Cassandra, queue in Kafka; where none is configured, a local one"
        " is started (default: what the settings say)",
    )
    parser.add_argument(
        "--cluster",
        type=Path,
        default=DEFAULT_FOLDER,
        help="folder of the local cluster; one that runs already is left running"
        f" (default: {DEFAULT_FOLDER})",
    )
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (default: 8080)")
    parser.add_argument("--data", type=Path, help="folder of archive, queue and logs")
    parser.add_argument("--model-repository", type=Path, help="what `embark export` wrote")
    parser.add_argument("--config", type=Path, help="TOML file with settings")
    parser.add_argument("--json", action="store_true", help="print events as lines of JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run until SIGINT or SIGTERM; a second one ends everything at once."""
    configuration = _configuration(options, {})
    settings = configuration.settings
    repository = settings.retina.model_repository
    if not exported_models(repository):
        export_all(repository)
    catalogue = load_catalogue(repository)
    models = ", ".join(catalogue)
    texts = (one for one in catalogue.values() if one.facts.modality is Modality.TEXT)
    example = next(texts, next(iter(catalogue.values())))

    def report(line: str) -> None:
        if options.json:
            show_json({"event": "log", "message": line})
        else:
            console.print(line, markup=False, soft_wrap=True)

    def ready(url: str) -> None:
        if options.json:
            show_json({"event": "ready", "url": url})
            return
        report(f"EmbArk is ready at {url}  (models: {models}; data: {settings.data})")
        report(
            f"Try: curl -s {url}/v1/lookup -d"
            f""" '{{"model": "{example.name}", "items": [{_EXAMPLES[example.facts.modality]}]}}'"""
        )
        report("Ctrl-C drains and stops it.")

    with only_one(settings.data), ExitStack() as opened:
        if _wants_local_cluster(options, configuration):
            addresses = opened.enter_context(_local_cluster(options.cluster, report))
            configuration = _configuration(options, addresses)
            for change in apply_schema(configuration.settings):
                report(change)
        platform = Platform(configuration, report)
        stop = threading.Event()

        def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
            if stop.is_set():
                platform.kill()
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, ask_to_stop)
        platform.run(stop, ready=ready)
    report("stopped")
    return 0


def _wants_local_cluster(options: argparse.Namespace, configuration: Configuration) -> bool:
    """Whether the cluster profile is asked for, and no cluster is configured."""
    return options.profile == "cluster" and not (_CLUSTER_ADDRESSES & configuration.sources.keys())


@contextmanager
def _local_cluster(folder: Path, report: Report) -> Iterator[dict[str, Any]]:
    """Use the cluster of a folder; yields its settings. What was not running is stopped again."""
    cluster = LocalCluster(folder)
    was_running = any(part.state != "down" for part in cluster.status())
    addresses = cluster.start(report)
    copies = len(addresses.contact_points)
    try:
        yield {
            "archive.cassandra.contact_points": list(addresses.contact_points),
            "archive.cassandra.port": addresses.cassandra_port,
            "archive.cassandra.local_datacenter": addresses.datacenter,
            "archive.cassandra.replication": [f"{addresses.datacenter}:{copies}"],
            "queue.kafka.bootstrap": [addresses.kafka],
        }
    finally:
        if not was_running:
            cluster.stop(report)


def _configuration(options: argparse.Namespace, addresses: Mapping[str, Any]) -> Configuration:
    overrides: dict[str, Any] = {
        **_PROFILES[options.profile],
        **addresses,
        "gateway.host": options.host,
        "gateway.port": options.port,
        "data": options.data,
        "retina.model_repository": options.model_repository,
    }
    settings = load(file=options.config, overrides=overrides).settings
    overrides["data"] = settings.data.absolute()
    overrides["retina.model_repository"] = settings.retina.model_repository.absolute()
    overrides["retina.environment"] = settings.retina.environment.absolute()
    return load(file=options.config, overrides=overrides)
