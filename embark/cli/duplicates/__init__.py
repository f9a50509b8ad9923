"""`embark duplicates`: nearest items of an input, and groups of duplicates in a catalogue."""

from __future__ import annotations

import argparse
from typing import Any

from embark.cli.duplicates import catalogue, nearest
from embark.errors import BadRequest


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "duplicates",
        help="find items that are nearly the same",
        description="With --items: group the near-duplicates of a whole catalogue, by text and"
        " image together. Without: the nearest items of single inputs in the archive.",
    )
    nearest.add_arguments(parser)
    catalogue.add_arguments(parser)
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Group a catalogue, or show the nearest items of inputs."""
    of_catalogue = _given(options, catalogue.OPTIONS)
    if options.items is None:
        if of_catalogue:
            raise BadRequest(f"{_named(of_catalogue)} needs --items FILE", code="usage")
        return nearest.run(options)
    others = _given(options, _destinations(options.parser) - catalogue.OPTIONS - _SHARED)
    if others:
        raise BadRequest(
            f"{_named(others)} is for the nearest items of single inputs; leave it or --items out",
            code="usage",
        )
    return catalogue.run(options)


_SHARED = frozenset({"help", "url", "json"})


def _destinations(parser: argparse.ArgumentParser) -> frozenset[str]:
    return frozenset(action.dest for action in parser._actions)


def _given(options: argparse.Namespace, names: frozenset[str]) -> list[str]:
    """Return those options that have another value than when they are left out."""
    # No positional argument is an empty list, whatever its default.
    return sorted(
        name
        for name in names
        if (getattr(options, name) or None) != (options.parser.get_default(name) or None)
    )


def _named(names: list[str]) -> str:
    flags = {"texts": "TEXT", "k": "-k"}
    return ", ".join(flags.get(name, f"--{name.replace('_', '-')}") for name in names)
