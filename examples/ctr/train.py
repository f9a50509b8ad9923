"""`train`: the whole way, from data to a model that can be served, by EmbArk's ordinary commands.

tower → `embark export` → `embark up` → vectors in the archive → heads, compared → the learned OOV
vectors into EmbArk → `Scorer`'s files, predictions, figures, plots.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from embark.client import Client
from embark.errors import BadRequest
from examples.ctr import cells, plots, presets, report
from examples.ctr.arms import Outcome
from examples.ctr.catalogue import Catalogue
from examples.ctr.comparison import EMBARK, IMAGE_MODEL, Comparison, Material
from examples.ctr.deployment import console, others, own, running
from examples.ctr.model import save_head
from examples.ctr.predicting import Arm, mixtures
from examples.ctr.public import load_mind
from examples.ctr.text_tower import export_tower, train_tower
from examples.ctr.tower import MODEL as OWN_TEXT_MODEL
from examples.ctr.work import Work, add_work

_SHOWN_CELLS = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    presets.add_sizes(parser)
    add_work(parser)
    parser.add_argument(
        "--text-model",
        default=OWN_TEXT_MODEL,
        help=f"{OWN_TEXT_MODEL}, which is trained and exported here, or a text model that is"
        f" exported already, such as minilm (default: {OWN_TEXT_MODEL})",
    )
    parser.add_argument(
        "--url",
        help="a platform that runs already, of the settings in force here; else one is run for as"
        " long as it is needed, on data of the work folder",
    )
    parser.add_argument(
        "--mind", type=Path, metavar="FOLDER", help="train on MIND's files instead; texts only"
    )


def run(options: argparse.Namespace) -> int:
    """Train, compare, and write everything."""
    work = Work(options.work)
    work.folder.mkdir(parents=True, exist_ok=True)
    work.scorer.unlink(missing_ok=True)
    timings: dict[str, float] = {}
    preset, material = _material(options, timings)
    shipped = [] if options.text_model == OWN_TEXT_MODEL else [options.text_model]
    shipped += [IMAGE_MODEL] if material.pictures else []
    deployment = others() if options.url else own(work, shipped)
    if options.text_model == OWN_TEXT_MODEL:
        with _timed(timings, "text tower"):
            tower = train_tower(material.split, material.items, preset.tower_epochs, options.seed)
        with _timed(timings, "export"):
            export_tower(tower, work, deployment)
    platform = nullcontext(options.url) if options.url else running(deployment)
    with platform as url, Client(url) as client:
        comparison = Comparison(
            material=material,
            preset=preset,
            client=client,
            deployment=deployment,
            text_model=options.text_model,
            seed=options.seed,
        )
        with _timed(timings, "archive filled"):
            comparison.fill()
        with _timed(timings, "heads"):
            outcomes, arms = comparison.run()
        found: dict[str, Any] = {"heldout": report.compared(material.split, outcomes)}
        console.print(report.table("held out", found["heldout"]))
        with _timed(timings, "OOV vectors"):
            found["oov"] = comparison.install_oov(arms[EMBARK], work)
        if material.pictures:
            with _timed(timings, "towers inline and trained"):
                reduced = comparison.run_reduced(found)
            report.write_heldout(reduced.split, reduced.outcomes, work.heldout_reduced)
            console.print(
                report.table(f"{preset.reduced} of the items, held out", found["reduced"])
            )
        facts = comparison.facts()
        vectors: dict[str, Any] = comparison.archived()
        np.savez(work.vectors, **vectors)
    facts["timings_s"] = timings
    report.write_json({**facts, **found}, work.report)
    report.write_heldout(material.split, outcomes, work.heldout)
    _plot(material, outcomes, arms[EMBARK], found["heldout"], work)
    save_head(arms[EMBARK].head, work.head)
    if isinstance(material.items, Catalogue):
        work.scorer.write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    console.print(f"written to {work.folder}: {', '.join(sorted(_files(work)))}")
    return 0


def _material(
    options: argparse.Namespace, timings: dict[str, float]
) -> tuple[presets.Preset, Material]:
    preset = presets.chosen(options)
    with _timed(timings, "data"):
        if options.mind is not None:
            news, shown = load_mind(options.mind)
            return preset, Material(news, cells.split(shown, presets.TRAINED_SHARE), shown)
        catalogue, impressions = presets.data(preset, options.seed)
    split = cells.split(impressions, presets.TRAINED_SHARE)
    if split.known.all() or not split.known.any():
        raise BadRequest(
            f"{preset.items} items in {preset.days:g} days leave no new or no known item to hold"
            " out; ask for more items or impressions"
        )
    return preset, Material(catalogue, split, impressions)


def _plot(
    material: Material, outcomes: list[Outcome], arm: Arm, found: dict[str, Any], work: Work
) -> None:
    plots.plot_auc(found, work.plot("auc"))
    plots.plot_calibration(material.split, outcomes, work.plot("calibration"))
    plots.plot_learning(outcomes, work.plot("learning"))
    if not isinstance(material.items, Catalogue):
        return
    heldout = material.split.heldout
    # Popular cells of items apart, so that the distributions differ for a reason.
    order = np.argsort(-heldout.impressions, kind="stable")
    _, first = np.unique(heldout.item[order], return_index=True)
    shown = heldout.take(np.sort(order[np.sort(first)[:_SHOWN_CELLS]]))
    for _, _, mixture in mixtures(arm, shown, material.items, "none"):
        plots.plot_distributions(mixture, shown, work.plot("distributions"))


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    timings[name] = time.perf_counter() - started
    console.print(f"{name}: {timings[name]:.1f} s")


def _files(work: Work) -> list[str]:
    return [path.name for path in work.folder.iterdir() if path.is_file()]
