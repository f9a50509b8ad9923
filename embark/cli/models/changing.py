"""`embark models promote`, `rollback`, `retire`, `purge` and `oov`: decide about generations."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from embark.cli.models.common import (
    Deployment,
    add_generation,
    add_options,
    add_rate,
    deployment,
    percent,
    progress_bar,
    stopped_by_signal,
)
from embark.cli.numbers import share
from embark.cli.output import console, progress_console, show_json
from embark.coverage import Coverage, Drift, coverage, drift
from embark.errors import BadRequest, ConfigurationError
from embark.models import Model, remove_generation
from embark.purging import purge

_MIN_COVERAGE = 0.99
_SAMPLE = 1000
_LARGEST = 10_000
"""Most inputs of a sample: each is compared with each other one."""

_STOPPED = 130


def add_actions(actions: Any) -> None:
    """Declare the actions."""
    promoted = actions.add_parser(
        "promote",
        help="make a generation live",
        description="Show coverage and drift, and make the generation live: every gateway follows"
        " within 5 seconds. Refuses below the coverage asked. While it lacks vectors, their inputs"
        " are answered as out of vocabulary, never with the old generation's vectors.",
    )
    add_generation(promoted)
    promoted.add_argument(
        "--min-coverage",
        type=share,
        default=_MIN_COVERAGE,
        metavar="SHARE",
        help=f"of the traffic, 0 to 1 (default: {_MIN_COVERAGE})",
    )
    promoted.add_argument("--force", action="store_true", help="whatever the coverage")
    promoted.add_argument(
        "--sample",
        type=_sample_size,
        default=_SAMPLE,
        metavar="N",
        help=f"inputs to compare, at most (default: {_SAMPLE})",
    )
    promoted.add_argument(
        "--fallback-previous",
        action="store_true",
        help="refused, with the reason: a miss is never answered with the old generation's vector",
    )
    add_options(promoted, promote)
    back = actions.add_parser("rollback", help="make the generation live that was before")
    back.add_argument("model", metavar="MODEL", help="public model name")
    add_options(back, rollback)
    retired = actions.add_parser("retire", help="serve a generation no more")
    _add_named(retired, retire)
    purged = actions.add_parser(
        "purge",
        help="remove a retired generation's vectors",
        description="Remove the vectors of a generation that is served no more, beside traffic:"
        " nothing has to stop, and --rate leaves the archive to lookups. Runs until all are gone,"
        " so leave it in the background; Ctrl-C or SIGTERM ends it, and run again it goes on.",
    )
    add_rate(purged, "vectors")
    _add_named(purged, remove)
    set_one = actions.add_parser("oov", help="set a generation's out-of-vocabulary vector")
    add_generation(set_one)
    set_one.add_argument("file", type=Path, metavar="FILE", help=".npy of shape (dimension,)")
    add_options(set_one, set_oov)


def _sample_size(text: str) -> int:
    """Return a whole number from 1 to 10,000, for argparse."""
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 0 < int(text) <= _LARGEST):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {_LARGEST}")
    return int(text)


def _add_named(parser: argparse.ArgumentParser, run: Any) -> None:
    parser.add_argument("model", metavar="MODEL", help="public model name")
    parser.add_argument("generation", metavar="GENERATION", help="16 hexadecimal characters")
    add_options(parser, run)


def promote(options: argparse.Namespace) -> int:
    """Make a generation live."""
    if options.fallback_previous:
        raise BadRequest(
            "--fallback-previous is refused: vectors of two generations must not be mixed, so a"
            " miss in the new one is answered as out of vocabulary; fill it first, or use --force"
        )
    with deployment(options) as opened, progress_bar("inputs") as bar:
        live, model = (
            opened.live(options.model),
            opened.candidate(options.model, options.generation),
        )
        if model.generation == live.generation:
            raise BadRequest(f"{model.name} {model.generation} is live already")
        if model.generation in opened.state(model.name).retired:
            raise BadRequest(f"{model.generation} is retired; `embark models fill` restores it")
        task = bar.add_task("looked at", total=None)
        covered = coverage(
            opened.backends, live, model, lambda seen: bar.update(task, completed=seen)
        )
        moved = drift(opened.backends, live, model, options.sample)
        done = options.force or covered.share >= options.min_coverage
        if done:
            note = f"coverage {percent(covered.share)}"
            opened.generations.promote(model, live.generation, note)
    _tell_promotion(options, live, model, covered, moved, done=done)
    return 0 if done else 1


def rollback(options: argparse.Namespace) -> int:
    """Make the previous generation live."""
    with deployment(options) as opened:
        state = opened.state(options.model)
        if state.previous is not None:
            opened.find(options.model, state.previous)
        generation = opened.generations.rollback(options.model)
    return _report(options, generation, "is live again")


def retire(options: argparse.Namespace) -> int:
    """Serve a generation no more, and remove it from the model repository."""
    with deployment(options) as opened:
        model = opened.find(options.model, options.generation)
        if model.generation == opened.live(options.model).generation:
            raise BadRequest(f"{model.generation} is live; promote another one first")
        opened.generations.retire(model.name, model.generation)
        repository = opened.settings.retina.model_repository
        try:
            versions = remove_generation(repository, model.name, model.generation)
        except ConfigurationError as error:
            progress_console.print(f"{error.message}; remove it there, so that Retina unloads it")
            versions = []
    removed = ", ".join(map(str, versions)) or "none"
    return _report(options, model.generation, f"is retired; versions removed: {removed}")


def remove(options: argparse.Namespace) -> int:
    """Remove a retired generation's vectors from the archive."""
    with deployment(options) as opened, stopped_by_signal() as stop:
        generation = _retired(opened, options.model, options.generation)
        with progress_bar("vectors removed") as bar:
            task = bar.add_task("", total=None)
            count = purge(
                opened.backends.store,
                options.model,
                generation,
                per_second=options.rate,
                stop=stop,
                report=lambda forgotten: bar.update(task, completed=forgotten),
            )
    status = _report(options, generation, f"{count} records removed", removed=count)
    return _STOPPED if stop.is_set() else status


def set_oov(options: argparse.Namespace) -> int:
    """Set the out-of-vocabulary vector of a generation, by default the live one's."""
    try:
        vector = np.load(options.file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BadRequest(f"{options.file} cannot be read as a NumPy array: {error}") from None
    with deployment(options) as opened:
        model = (
            opened.live(options.model)
            if options.generation is None
            else opened.find(options.model, options.generation)
        )
        opened.generations.set_oov(model, vector, options.file.name)
    return _report(options, model.generation, f"has the OOV vector of {options.file.name}")


def _retired(opened: Deployment, name: str, generation: str) -> str:
    state = opened.state(name)
    found = [one for one in state.retired if one.startswith(generation)]
    if len(found) != 1 or not generation:
        known = ", ".join(state.retired) or "none"
        raise BadRequest(
            f"{generation!r} names no retired generation of {name}; retired are: {known}."
            " `embark models retire` comes first"
        )
    return found[0]


def _tell_promotion(
    options: argparse.Namespace,
    live: Model,
    model: Model,
    covered: Coverage,
    moved: Drift,
    *,
    done: bool,
) -> None:
    if options.json:
        show_json(
            {
                "model": model.name,
                "generation": model.generation,
                "previous": live.generation,
                "promoted": done,
                "coverage": {**asdict(covered), "share": covered.share},
                "drift": asdict(moved),
            }
        )
        return
    console.print(
        f"coverage: {percent(covered.share)} of the traffic, {covered.covered} of"
        f" {covered.inputs} inputs; {covered.failed} failed"
    )
    console.print(_words(moved))
    if done:
        console.print(f"{model.name} {model.generation} is live; {live.generation} was")
    else:
        console.print(
            f"not promoted: the coverage is below {percent(options.min_coverage)};"
            " `embark models fill` raises it, --force ignores it"
        )


def _words(moved: Drift) -> str:
    if not moved.inputs:
        return "drift: unknown, no input of the sample has a vector in both"
    cosine = "dimensions differ" if moved.cosine_mean is None else f"{moved.cosine_mean:.4f}"
    lowest = "" if moved.cosine_low is None else f" (5th percentile {moved.cosine_low:.4f})"
    return (
        f"drift over {moved.inputs} inputs: cosine {cosine}{lowest}, nearest neighbours in common"
        f" {percent(moved.neighbours)}"
    )


def _report(options: argparse.Namespace, generation: str, text: str, **facts: object) -> int:
    if options.json:
        show_json({"model": options.model, "generation": generation, "done": text, **facts})
    else:
        console.print(f"{options.model} {generation}: {text}")
    return 0
