"""`embark models`: what the service can embed."""

from __future__ import annotations

import argparse
from typing import Any

from rich.table import Table

from embark.cli.inputs import add_service_arguments, open_client
from embark.cli.output import console, show_json

_COLUMNS = ("name", "modality", "dimension", "dtype", "generation", "weights")


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("models", help="list the service's models")
    add_service_arguments(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the models."""
    with open_client(options) as client:
        models = client.models()
    if options.json:
        show_json({"models": models})
        return 0
    table = Table(*_COLUMNS, box=None)
    for model in models:
        table.add_row(*(str(model[column]) for column in _COLUMNS))
    console.print(table)
    return 0
