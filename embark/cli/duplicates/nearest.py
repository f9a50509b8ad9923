"""`embark duplicates` of single inputs: their nearest items in the archive."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.table import Table

from embark.cli.inputs import (
    add_inputs,
    add_service_arguments,
    by_model,
    chunks,
    open_client,
)
from embark.cli.models.common import Deployment, deployment, progress_bar
from embark.cli.output import console, show_json
from embark.client import Client, Neighbourhood, Sendable
from embark.errors import BadRequest
from embark.models import Model
from embark.neighbours.rebuilding import rebuild

_DEFAULT_K = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group("nearest items of single inputs")
    add_inputs(parser)
    add_service_arguments(parser)
    group.add_argument(
        "-k", type=int, default=_DEFAULT_K, help=f"how many of each (default: {_DEFAULT_K})"
    )
    group.add_argument(
        "--minimum", type=float, help="cosine below which an item is not near, -1 to 1"
    )
    group.add_argument("--generation", help="whose vectors are compared (default: the live one's)")
    group.add_argument(
        "--exact", action="store_true", help="compare with every vector; for checking"
    )
    group.add_argument(
        "--on-miss", choices=("oov", "wait", "skip"), default="oov", help="default: oov"
    )
    group.add_argument("--wait-ms", type=int, help="longest wait of --on-miss wait")
    group.add_argument(
        "--rebuild",
        action="store_true",
        help="make the index anew from the archive, of every model or of --model; works on the"
        " archive itself, as configured",
    )
    group.add_argument("--config", type=Path, help="TOML file with settings, for --rebuild")


def run(options: argparse.Namespace) -> int:
    """Print the nearest items of each input; exits 1 if one is no hit."""
    if options.rebuild:
        return _rebuild(options)
    good = True
    with open_client(options) as client:
        for chunk in chunks(options, client.models):
            found = _neighbours(client, chunk, options)
            good &= all(one.status == "hit" for one in found)
            if options.json:
                for one in found:
                    show_json(_as_json(one))
            else:
                for (_, sent), one in zip(chunk, found, strict=True):
                    _show(sent, one)
    return 0 if good else 1


def _neighbours(
    client: Client, chunk: list[tuple[str, Sendable]], options: argparse.Namespace
) -> list[Neighbourhood]:
    found: dict[int, Neighbourhood] = {}
    for model, positions in by_model(chunk).items():
        answer = client.neighbours(
            [chunk[position][1] for position in positions],
            model,
            k=options.k,
            minimum=options.minimum,
            generation=options.generation,
            exact=options.exact,
            on_miss=options.on_miss,
            wait_ms=options.wait_ms,
        )
        found.update(zip(positions, answer, strict=True))
    return [found[position] for position in range(len(chunk))]


def _as_json(found: Neighbourhood) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "status": found.status,
        "key": found.key,
        "queued": found.queued,
        "reason": found.reason,
    }
    shown = {name: value for name, value in fields.items() if value is not None}
    if found.status == "hit":
        shown["neighbours"] = [
            {name: value for name, value in vars(near).items() if value is not None}
            for near in found.neighbours
        ]
    return shown


def _show(sent: Sendable, found: Neighbourhood) -> None:
    named = f"{len(sent)} bytes" if isinstance(sent, bytes) else str(sent)
    reason = "" if found.reason is None else f": {found.reason['message']}"
    queued = ", queued: ask again" if found.queued else ""
    near = f"{len(found.neighbours)} near" if found.status == "hit" else found.status
    console.print(f"{named}  ({near}{reason}{queued})")
    if found.neighbours:
        table = Table("cosine", "item", "key", box=None)
        for one in found.neighbours:
            table.add_row(f"{one.cosine:.4f}", one.text or one.image_url or "", one.key)
        console.print(table)


def _rebuild(options: argparse.Namespace) -> int:
    with deployment(options) as opened, progress_bar("records") as bar:
        made: list[dict[str, Any]] = []
        for model in _chosen(opened, options):
            task = bar.add_task(f"{model.name} {model.generation}", total=None)
            vectors = rebuild(
                opened.backends.store,
                opened.settings,
                model,
                lambda seen, task=task: bar.update(task, completed=seen),  # type: ignore[misc]
            )
            made.append({"model": model.name, "generation": model.generation, "vectors": vectors})
    if options.json:
        show_json({"rebuilt": made})
    else:
        for one in made:
            console.print("{model}, generation {generation}: {vectors} vectors".format(**one))
    return 0


def _chosen(opened: Deployment, options: argparse.Namespace) -> list[Model]:
    """Return the served generations that were named, of models whose neighbours are kept."""
    catalogue = opened.catalogue()
    names = list(catalogue) if options.model is None else [options.model]
    kept = opened.settings.archive.neighbours.keeps
    chosen = [
        model
        for name in names
        if kept(name)
        for model in catalogue.generations(name)
        if options.generation in (None, model.generation)
    ]
    if not chosen:
        raise BadRequest(
            "nothing to rebuild: no such generation is served, or archive.neighbours.models leaves"
            " the model out"
        )
    return chosen
