"""`embark models fill` and `coverage`: have a generation computed, and see how far it is."""

from __future__ import annotations

import argparse
import threading
from dataclasses import asdict
from typing import Any

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
from embark.cli.output import console, show_json
from embark.coverage import coverage
from embark.filling import Filling, Progress
from embark.models import Model

_STILL_SECONDS = 30.0
_FOLLOWED = 2
_STOPPED = 130


def add_actions(actions: Any) -> None:
    """Declare the actions."""
    filled = actions.add_parser(
        "fill",
        help="compute a generation for all known inputs, the most used first",
        description="Queue what a generation lacks as bulk work, until it lacks nothing. Ctrl-C"
        " ends it; run again, it goes on where it was. Exits 1 if inputs remain without a record:"
        " those whose content is not remembered.",
    )
    add_generation(filled)
    add_rate(filled, "inputs")
    waits = filled.add_mutually_exclusive_group()
    waits.add_argument("--pause", action="store_true", help="have a running fill wait, and end")
    waits.add_argument("--resume", action="store_true", help="have it go on, and end")
    add_options(filled, fill)
    covered = actions.add_parser(
        "coverage", help="how much of what is asked a generation can answer"
    )
    add_generation(covered)
    add_options(covered, show_coverage)


def fill(options: argparse.Namespace) -> int:
    """Fill a generation, or have its filling wait or go on."""
    with deployment(options) as opened, stopped_by_signal() as stop:
        model = opened.candidate(options.model, options.generation)
        if options.pause or options.resume:
            opened.generations.pause(model.name, model.generation, paused=options.pause)
            return _tell_paused(options, model)
        _restore(opened, model, stop)
        with progress_bar("inputs") as bar:
            task = bar.add_task("", total=None)

            def report(now: Progress) -> None:
                bar.update(task, completed=now.done, total=now.known, description=_words(now))

            filling = Filling(
                opened.backends, model, per_second=options.rate, stop=stop, report=report
            )
            ended = filling.run()
    if options.json:
        show_json({"model": model.name, "generation": model.generation, **asdict(ended)})
    else:
        console.print(
            f"{model.name} {model.generation}: {ended.done} of {ended.known} known inputs have a"
            f" record, {ended.failed} of them failed; {ended.forgotten} cannot be computed, as"
            " their content is not remembered"
        )
        if ended.retired:
            console.print(f"it has ended early: {model.generation} was retired meanwhile")
    if stop.is_set():
        return _STOPPED
    return 0 if ended.done == ended.known else 1


def show_coverage(options: argparse.Namespace) -> int:
    """Print the coverage of a generation."""
    with deployment(options) as opened, progress_bar("inputs") as bar:
        live = opened.live(options.model)
        model = opened.candidate(options.model, options.generation)
        task = bar.add_task("looked at", total=None)
        found = coverage(
            opened.backends, live, model, lambda seen: bar.update(task, completed=seen)
        )
    if options.json:
        described = {**asdict(found), "share": found.share}
        show_json({"model": model.name, "generation": model.generation, **described})
        return 0
    by = f"{found.uses:.0f} uses counted" if found.uses else "no uses are counted yet"
    console.print(
        f"{model.name} {model.generation}: {percent(found.share)} of the traffic ({by});"
        f" {found.covered} of {found.inputs} inputs, {found.failed} failed"
    )
    return 0


def _restore(opened: Deployment, model: Model, stop: threading.Event) -> None:
    if model.generation in opened.state(model.name).retired:
        opened.generations.restore(model.name, model.generation)
        # Until consumers follow, they drop its requests.
        stop.wait(_FOLLOWED * opened.settings.retina.follow_seconds)


def _tell_paused(options: argparse.Namespace, model: Model) -> int:
    state = "paused" if options.pause else "resumed"
    if options.json:
        show_json({"model": model.name, "generation": model.generation, "state": state})
    else:
        console.print(f"{model.name} {model.generation}: filling {state}")
    return 0


def _words(now: Progress) -> str:
    if now.paused:
        return "paused; `embark models fill MODEL --resume` goes on"
    if now.still_s > _STILL_SECONDS:
        return (
            f"{now.pending} queued, none computed for {now.still_s:.0f} s: do consumers run, and"
            " does Retina serve this generation?"
        )
    return f"{now.pending} queued"
