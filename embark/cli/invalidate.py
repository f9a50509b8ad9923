"""`embark invalidate`: forget vectors, and have them computed again."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from embark.cli.inputs import add_inputs, by_model, chunks
from embark.cli.models.common import Deployment, add_options, deployment, progress_bar
from embark.cli.output import console, show_json
from embark.client import Sendable
from embark.dataset.digests import input_of
from embark.errors import BadRequest
from embark.inputs import Input
from embark.invalidation import Invalidation
from embark.keys import Key, digest
from embark.models import Model


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "invalidate",
        help="forget vectors, and have them computed again",
        description="Forget the vectors of inputs, in every generation that is served, or a whole"
        " generation, and queue what is to be computed again. For an image that has changed behind"
        " its URL. Works on the archive itself, as configured.",
    )
    add_inputs(parser)
    parser.add_argument(
        "--generation",
        metavar="GENERATION",
        help="a whole generation of --model, named by its first characters or all",
    )
    add_options(parser, run)


def run(options: argparse.Namespace) -> int:
    """Invalidate what is named."""
    with deployment(options) as opened:
        invalidation = Invalidation(opened.backends)
        if options.generation is not None:
            forgotten, queued = _whole_generation(opened, invalidation, options)
        else:
            forgotten, queued = _inputs(opened, invalidation, options)
    if options.json:
        show_json({"invalidated": forgotten, "queued": queued})
    else:
        console.print(f"{forgotten} invalidated, {queued} queued to be computed again")
    return 0


def _whole_generation(
    opened: Deployment, invalidation: Invalidation, options: argparse.Namespace
) -> tuple[int, int]:
    if options.model is None:
        raise BadRequest("--generation needs --model")
    if any((options.texts, options.file, options.image, options.image_url, options.key)):
        raise BadRequest("--generation is all of it; name inputs or a generation, not both")
    model = opened.find(options.model, options.generation)
    with progress_bar("records forgotten") as bar:
        task = bar.add_task("", total=None)
        return invalidation.generation(
            model,
            lambda forgotten, queued: bar.update(
                task, completed=forgotten, description=f"{queued} queued"
            ),
        )


def _inputs(
    opened: Deployment, invalidation: Invalidation, options: argparse.Namespace
) -> tuple[int, int]:
    catalogue = opened.catalogue()
    models = [{"name": one.name, "modality": one.facts.modality} for one in catalogue.values()]
    forgotten = queued = 0
    for chunk in chunks(options, lambda: models):
        for name, positions in by_model(chunk).items():
            contents = _contents(catalogue[name], [chunk[position][1] for position in positions])
            queued += len(invalidation.inputs(catalogue, name, contents))
            forgotten += len(contents)
    return forgotten, queued


def _contents(model: Model, inputs: Sequence[Sendable]) -> Mapping[bytes, Input | None]:
    contents: dict[bytes, Input | None] = {}
    for one in inputs:
        if isinstance(one, Key):
            contents.setdefault(one.digest, None)
            continue
        item = input_of(one)
        if item.kind.modality is not model.facts.modality:
            raise BadRequest(
                f"{model.name} embeds {model.facts.modality.value}, not {item.kind.value}",
                code="wrong_modality",
            )
        contents[digest(item)] = item
    return contents
