"""`embark models list` and `show`: which generations there are, and what is known of one model."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from rich.table import Column, Table

from embark.cli.inputs import open_client
from embark.cli.models.common import Deployment, add_options, deployment
from embark.cli.output import console, show_json
from embark.models import Model

_COLUMNS = ("name", "modality", "dimension", "generation", "version", "state", "precision")


def add_actions(actions: Any) -> None:
    """Declare the actions."""
    listed = actions.add_parser("list", help="every generation of every model")
    listed.add_argument("--url", help="ask this service, not the model repository and the archive")
    add_options(listed, show_list)
    shown = actions.add_parser("show", help="one model: its generations, and what was decided")
    shown.add_argument("model", metavar="MODEL", help="public model name")
    add_options(shown, show_model)


def show_list(options: argparse.Namespace) -> int:
    """Print all generations."""
    if options.url:
        with open_client(options) as client:
            rows = [row for model in client.models() for row in _served_rows(model)]
    else:
        with deployment(options) as opened:
            rows = [row for name in opened.exported for row in _rows(opened, name)]
    if options.json:
        show_json({"models": rows})
        return 0
    _print_table(rows)
    return 0


def show_model(options: argparse.Namespace) -> int:
    """Print one model."""
    with deployment(options) as opened:
        rows = _rows(opened, options.model)
        state = opened.state(options.model)
    if options.json:
        changes = [change.model_dump() for change in state.changes]
        show_json({"name": options.model, "generations": rows, "changes": changes})
        return 0
    _print_table(rows)
    for row in rows:
        console.print(f"{row['generation']}: {row['weights']}; OOV vector {row['oov']}")
    for change in state.changes:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(change.at_ms / 1000))
        console.print(f"{at}  {change.generation}  {change.action}  {change.note}".rstrip())
    return 0


def _rows(opened: Deployment, name: str) -> list[dict[str, Any]]:
    state, catalogue = opened.state(name), opened.catalogue()
    live = catalogue[name].generation if name in catalogue else None
    rows = []
    for model in opened.of(name):
        generation = model.generation
        if generation in state.retired:
            word = "retired"
        elif generation == live:
            word = "live"
        elif generation == state.previous:
            word = "previous"
        else:
            word = "paused" if generation in state.paused else "beside"
        facts = model.facts.model_dump(mode="json", exclude={"recipe"})
        oov = state.oov.get(generation)
        origin = f"set, {oov.origin}" if oov else _exported_oov(model)
        rows.append({**facts, "state": word, "oov": origin})
    return rows


def _served_rows(model: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each generation that a service tells of; its facts are of the live one."""
    rows = []
    for served in model["generations"]:
        state = "live" if served["live"] else "beside"
        row = {**model, "generation": served["generation"], "version": served["version"]}
        if not served["live"]:
            row |= {"precision": "", "weights": ""}
        row.pop("generations")
        rows.append({**row, "state": state})
    return rows


def _exported_oov(model: Model) -> str:
    return "exported with it" if np.any(model.oov) else "zeros"


def _print_table(rows: list[dict[str, Any]]) -> None:
    # A generation that is cut names nothing.
    table = Table(*(Column(name, no_wrap=True) for name in _COLUMNS), box=None)
    for row in rows:
        table.add_row(*(str(row[column]) for column in _COLUMNS))
    console.print(table)
