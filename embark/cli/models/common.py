"""What the actions of `embark models` share: options, and what they work on."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from embark.backends import Backends, open_backends
from embark.cli.numbers import not_negative
from embark.cli.output import progress_console
from embark.config import load
from embark.errors import BadRequest
from embark.generations import Generations, State, assemble
from embark.models import Catalogue, Exported, Model, load_exported
from embark.settings import Settings


@dataclass(frozen=True)
class Deployment:
    """What is exported, what was decided, and where vectors are.

    Attributes:
        settings: all settings.
        backends: open archive, ledger and queue.
        exported: the generations in the model repository.
        generations: the decisions.
    """

    settings: Settings
    backends: Backends
    exported: Exported
    generations: Generations

    def state(self, name: str) -> State:
        """Return what was decided about a model."""
        return self.generations.state(name)

    def catalogue(self) -> Catalogue:
        """Return what a gateway serves now."""
        return assemble(self.exported, self.generations.states(self.exported))

    def live(self, name: str) -> Model:
        """Return the live generation.

        Raises:
            NotFound: no model has this name, or all its generations are retired.
        """
        return self.catalogue()[name]

    def of(self, name: str) -> list[Model]:
        """Return the exported generations of a model.

        Raises:
            BadRequest: no model has this name.
        """
        if name not in self.exported:
            known = ", ".join(self.exported)
            raise BadRequest(f"no model is named {name!r}; the models are: {known}")
        return list(self.exported[name])

    def find(self, name: str, prefix: str) -> Model:
        """Return the exported generation that begins with `prefix`.

        Raises:
            BadRequest: none does, or several do.
        """
        # An empty variable of a script must not name the only one there is.
        if not prefix:
            raise BadRequest(f"no generation of {name} is named: it is empty")
        found = [one for one in self.of(name) if one.generation.startswith(prefix)]
        if len(found) != 1:
            known = ", ".join(one.generation for one in self.of(name))
            what = "no generation" if not found else "more than one generation"
            raise BadRequest(f"{what} of {name} begins with {prefix!r}; exported are: {known}")
        return found[0]

    def candidate(self, name: str, prefix: str | None) -> Model:
        """Return the generation that is named, or else the newest one that is not live.

        Raises:
            BadRequest: there is none.
        """
        if prefix is not None:
            return self.find(name, prefix)
        live, retired = self.live(name), self.state(name).retired
        others = [
            one
            for one in self.of(name)
            if one.generation != live.generation and one.generation not in retired
        ]
        if not others:
            raise BadRequest(
                f"{name} has no generation beside the live one; `embark export` makes one"
            )
        return max(others, key=lambda model: model.facts.version)


@contextmanager
def deployment(options: argparse.Namespace) -> Iterator[Deployment]:
    """Open what the settings name."""
    settings = load(file=options.config).settings
    exported = load_exported(settings.retina.model_repository)
    with closing(open_backends(settings)) as backends:
        yield Deployment(settings, backends, exported, Generations(backends.ledger))


def add_options(parser: argparse.ArgumentParser, run: Any) -> None:
    """Declare what every action takes."""
    parser.add_argument("--config", type=Path, help="TOML file with settings")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def add_generation(parser: argparse.ArgumentParser) -> None:
    """Declare a model and one of its generations, by default the newest that is not live."""
    parser.add_argument("model", metavar="MODEL", help="public model name")
    parser.add_argument(
        "--generation",
        help="generation, or its beginning (default: the newest one that is not live)",
    )


def add_rate(parser: argparse.ArgumentParser, what: str) -> None:
    """Declare how fast background work goes."""
    parser.add_argument(
        "--rate",
        type=not_negative,
        default=0.0,
        metavar="N",
        help=f"{what} a second, at most (default: 0, as fast as it goes)",
    )


@contextmanager
def stopped_by_signal() -> Iterator[threading.Event]:
    """Give an event that SIGINT and SIGTERM set, so that long work ends in order."""
    stop = threading.Event()
    previous = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def progress_bar(unit: str) -> Progress:
    """Return a progress display on standard error."""
    return Progress(
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=progress_console,
    )


def percent(share: float | None) -> str:
    """Return a share for people, rounded down: what is short of all is not 100 %."""
    return "unknown" if share is None else f"{int(share * 10_000) / 100:.2f} %"
