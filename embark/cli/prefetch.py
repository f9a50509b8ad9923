"""`embark prefetch`: queue inputs whose vectors are wanted later."""

from __future__ import annotations

import argparse
from typing import Any

from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from embark.cli.inputs import (
    add_inputs,
    add_service_arguments,
    by_model,
    chunks,
    open_client,
    short,
)
from embark.cli.output import console, progress_console, show_json

_SHOWN = 80


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "prefetch",
        help="queue inputs without reading them",
        description="Queue inputs. They are on disk when the command ends. Exits 1 if one is"
        " invalid.",
    )
    add_inputs(parser)
    add_service_arguments(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Queue all inputs, showing how many are accepted."""
    accepted = refused = 0
    columns = (SpinnerColumn(), TextColumn("queued"), MofNCompleteColumn())
    with open_client(options) as client, Progress(*columns, console=progress_console) as progress:
        task = progress.add_task("prefetch", total=None)
        for chunk in chunks(options, client.models):
            for model, positions in by_model(chunk).items():
                keys = client.prefetch([chunk[position][1] for position in positions], model)
                invalid = [at for at, key in zip(positions, keys, strict=True) if key is None]
                for position in invalid:
                    told = short(chunk[position][1], _SHOWN)
                    progress.console.print(f"invalid: {told}", soft_wrap=True)
                accepted += len(keys) - len(invalid)
                refused += len(invalid)
            progress.update(task, completed=accepted)
    if options.json:
        show_json({"accepted": accepted, "invalid": refused})
    else:
        console.print(f"{accepted} queued, {refused} invalid")
    return 1 if refused else 0
