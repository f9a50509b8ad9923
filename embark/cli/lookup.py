"""`embark lookup`: vectors of texts and images."""

from __future__ import annotations

import argparse
from typing import Any

from rich.table import Table

from embark.cli.inputs import (
    add_inputs,
    add_service_arguments,
    by_model,
    chunks,
    open_client,
    short,
)
from embark.cli.output import console, show_json
from embark.client import Client, Result, Sendable

_SHOWN_NUMBERS = 4


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "lookup",
        help="look up vectors",
        description="Look up vectors. Exits 1 if an input is invalid or failed; a missing vector"
        " (oov) is an answer.",
    )
    add_inputs(parser)
    add_service_arguments(parser)
    parser.add_argument(
        "--on-miss", choices=("oov", "wait", "skip"), default="oov", help="default: oov"
    )
    parser.add_argument("--wait-ms", type=int, help="longest wait of --on-miss wait")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a line for each input, in order."""
    good = True
    with open_client(options) as client:
        for chunk in chunks(options, client.models):
            results = _lookup(client, chunk, options)
            good &= all(result.status in ("hit", "oov") for result in results)
            if options.json:
                for result in results:
                    show_json(_as_json(result))
            else:
                _show_table(chunk, results)
    return 0 if good else 1


def _lookup(
    client: Client, chunk: list[tuple[str, Sendable]], options: argparse.Namespace
) -> list[Result]:
    results: dict[int, Result] = {}
    for model, positions in by_model(chunk).items():
        answer = client.lookup(
            [chunk[position][1] for position in positions],
            model,
            on_miss=options.on_miss,
            wait_ms=options.wait_ms,
        )
        results.update(zip(positions, answer.items, strict=True))
    return [results[position] for position in range(len(chunk))]


def _as_json(result: Result) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "status": result.status,
        "key": result.key,
        "age_ms": result.age_ms,
        "queued": result.queued,
        "reason": result.reason,
        "embedding": result.embedding,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _show_table(chunk: list[tuple[str, Sendable]], results: list[Result]) -> None:
    table = Table("input", "status", "age", "vector", "key", box=None)
    for (_, sent), result in zip(chunk, results, strict=True):
        vector = (
            ""
            if result.embedding is None
            else (" ".join(f"{number:.4f}" for number in result.embedding[:_SHOWN_NUMBERS]) + " …")
        )
        reason = "" if result.reason is None else f": {result.reason['message']}"
        age = "" if result.age_ms is None else f"{result.age_ms / 1000:.1f} s"
        table.add_row(short(sent), f"{result.status}{reason}", age, vector, result.key or "")
    console.print(table)
