"""`embark archive export`: the vectors of a generation in a folder, for training."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from embark.cli.models.common import add_options, deployment
from embark.cli.output import console, progress_console, show_json
from embark.dataset import Format, Manifest
from embark.dataset.writer import write_dataset
from embark.errors import BadRequest, ConfigurationError
from embark.inputs import Input, Modality, image_url_input, text_input
from embark.models import Model


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("archive", help="take vectors out of the archive")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    action = actions.add_parser(
        "export",
        help="write the vectors of a generation into a folder, for training",
        description="Write every vector of one generation, or those of the inputs in a file, as"
        " NumPy arrays to map into memory, or as Parquet. Reads the archive itself, as configured,"
        " while it is in use. Exits 1 if a line of --inputs has no vector.",
    )
    action.add_argument("model", metavar="MODEL", help="public model name")
    action.add_argument("--generation", help="generation, or its beginning (default: the live one)")
    action.add_argument(
        "--inputs",
        type=Path,
        metavar="FILE",
        help="only these, in this order: a text, or an image's URL, a line",
    )
    action.add_argument("--output", type=Path, required=True, help="folder; must not exist")
    action.add_argument(
        "--format",
        choices=[one.value for one in Format],
        default=Format.MEMMAP.value,
        help=f"default: {Format.MEMMAP.value}",
    )
    add_options(action, run)


def run(options: argparse.Namespace) -> int:
    """Write the dataset, showing how much of it is done."""
    with deployment(options) as opened, _progress() as progress:
        task = progress.add_task("listing", total=None)
        model = (
            opened.live(options.model)
            if options.generation is None
            else opened.find(options.model, options.generation)
        )
        manifest = write_dataset(
            opened.backends,
            model,
            options.output,
            Format(options.format),
            inputs=None if options.inputs is None else _inputs(options.inputs, model),
            report=lambda done, total: progress.update(
                task,
                completed=done or total,
                total=total if done else None,
                description="writing" if done else "listing",
            ),
        )
    _show(options, manifest)
    absent = manifest.missing + manifest.failed + manifest.corrupt
    return 1 if manifest.inputs is not None and absent else 0


def _show(options: argparse.Namespace, manifest: Manifest) -> None:
    if options.json:
        show_json({"output": str(options.output), **manifest.model_dump(mode="json")})
        return
    console.print(
        f"{manifest.count} vectors of {manifest.model}, generation {manifest.generation}, in"
        f" {options.output}"
    )
    if manifest.missing and manifest.inputs is not None:
        console.print(
            f"{manifest.missing} of {manifest.inputs} lines have no vector yet; `embark prefetch`"
            " has them computed"
        )
    if manifest.failed:
        console.print(f"{manifest.failed} left out: they cannot be embedded")
    if manifest.corrupt:
        console.print(f"{manifest.corrupt} left out: their records are damaged")


def _inputs(file: Path, model: Model) -> Iterator[Input]:
    of_line = text_input if model.facts.modality is Modality.TEXT else image_url_input
    number = 1
    try:
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                yield of_line(line.rstrip("\r\n"))
                number += 1
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from None
    except BadRequest as error:
        raise BadRequest(f"{file}, line {number}: {error.message}", code=error.code) from None


class _Rate(ProgressColumn):
    """Vectors a second."""

    def render(self, task: Task) -> Text:
        """Return the rate, if it is known."""
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s")


def _progress() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=progress_console,
    )
