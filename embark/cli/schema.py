"""`embark schema apply`: keyspace, tables and topics, as configured."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embark.backends import require_package
from embark.cli.output import console, show_json
from embark.config import load
from embark.models import ModelFacts, exported_models, load_exported
from embark.settings import Settings


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "schema",
        help="make tables and topics in Cassandra and Kafka",
        description="Bring Cassandra's keyspace and tables and Kafka's topics to what the settings"
        " say. Repeatable: what is right already is left alone.",
    )
    parser.add_argument("action", choices=("apply",), help="apply")
    parser.add_argument("--config", type=Path, help="TOML file with settings")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Apply, and print what was changed."""
    changes = []
    for change in apply_schema(load(file=options.config).settings):
        changes.append(change)
        if not options.json:
            console.print(change)
    if options.json:
        show_json({"changes": changes})
    elif not changes:
        console.print("nothing to change")
    return 0


def apply_schema(settings: Settings) -> Iterator[str]:
    """Apply the schema of every cluster that the settings use; yields each change, in a line.

    Raises:
        ArchiveUnavailable: Cassandra cannot be reached, or refuses.
        QueueUnavailable: Kafka cannot be reached, or refuses.
    """
    if settings.archive.backend == "cassandra":
        require_package("cassandra", "archive.backend is cassandra")
        from embark.store.cassandra import schema

        yield from schema.apply(settings.archive.cassandra, _with_neighbours(settings))
    if settings.queue.backend == "kafka":
        require_package("confluent_kafka", "queue.backend is kafka")
        from embark.queue.kafka import topics

        yield from topics.apply(settings.queue.kafka)


def _with_neighbours(settings: Settings) -> list[ModelFacts]:
    """Return every exported generation whose neighbours are kept; none of an empty repository."""
    repository = settings.retina.model_repository
    if not exported_models(repository):
        return []
    return [
        model.facts
        for models in load_exported(repository).values()
        for model in models
        if settings.archive.neighbours.keeps(model.name)
    ]
