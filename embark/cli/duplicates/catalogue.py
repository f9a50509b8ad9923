"""`embark duplicates --items`: groups of near-duplicates over a catalogue."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from embark.cli.inputs import open_client
from embark.cli.output import console, progress_console, show_json
from embark.client import Client
from embark.config import load
from embark.duplicates import tables
from embark.duplicates.calibrating import LEAST_OF_EACH, Calibrated, calibrate, rules_of
from embark.duplicates.deciding import DEFAULT_RULES, Basis
from embark.duplicates.finding import Finder, Group, Report
from embark.duplicates.items import Catalogue, Columns, Labels, read_catalogue, read_labels
from embark.duplicates.report import Options, require_pillow, write_report
from embark.duplicates.vectors import Limits, Vectors, bring
from embark.errors import BadRequest
from embark.inputs import Modality

_DEFAULT_MODELS = {Modality.TEXT: "minilm", Modality.IMAGE: "inception_v3"}
_PRECISION = 0.95
_SHOWN_GROUPS = 10
_SHOWN_PROBLEMS = 10
_EVENT_SECONDS = 1.0

OPTIONS = frozenset(
    (
        "items", "id_column", "text_column", "image_column", "text_model", "image_model", "pairs",
        "precision", "out", "report", "report_groups", "remote_pictures", "work", "retry_failed",
        "patience_s",
    )
)  # fmt: skip
"""Destinations of the options that belong to `--items`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group("groups over a catalogue")
    group.add_argument(
        "--items", type=Path, metavar="FILE", help="catalogue: CSV with a header, or .jsonl; UTF-8"
    )
    for name, what in (("id", "ids"), ("text", "texts"), ("image", "image paths or URLs")):
        group.add_argument(
            f"--{name}-column",
            default=name,
            metavar="NAME",
            help=f"column of the {what} (default: {name})",
        )
    for modality, model in _DEFAULT_MODELS.items():
        group.add_argument(
            f"--{modality.value}-model",
            metavar="MODEL",
            help=f"default: {model}, or the only {modality.value} model",
        )
    group.add_argument(
        "--pairs",
        type=Path,
        metavar="FILE",
        help="labelled pairs to calibrate with: columns id_a, id_b, duplicate (0 or 1)",
    )
    group.add_argument(
        "--precision", type=float, help=f"precision that --pairs aims at (default: {_PRECISION})"
    )
    group.add_argument("--out", type=Path, metavar="FILE", help="groups, as .csv or .json")
    group.add_argument("--report", type=Path, metavar="FILE", help="HTML page with the pictures")
    group.add_argument(
        "--report-groups", type=int, default=500, metavar="N", help="most in it (default: 500)"
    )
    group.add_argument(
        "--remote-pictures",
        action="store_true",
        help="let the page load pictures at URLs; else they are links",
    )
    group.add_argument(
        "--work",
        type=Path,
        metavar="FOLDER",
        help="vectors that have come, for going on (default: FILE.vectors; may be deleted)",
    )
    group.add_argument(
        "--retry-failed", action="store_true", help="ask again for inputs that failed"
    )
    group.add_argument(
        "--patience-s",
        type=float,
        default=300.0,
        help="give up when no vector has come for so long (default: 300)",
    )


def run(options: argparse.Namespace) -> int:
    """Find the groups, write what is asked for, and show what was found."""
    _check(options)
    columns = Columns(options.id_column, options.text_column, options.image_column)
    catalogue = read_catalogue(options.items, columns)
    labels = None
    if options.pairs is not None:
        labels = read_labels(options.pairs, catalogue.items, LEAST_OF_EACH)
    with _progress(as_json=options.json) as report:
        with open_client(options) as client:
            try:
                vectors = bring(
                    client, catalogue, _models(client, options), _limits(options), report
                )
            except KeyboardInterrupt:
                progress_console.print("stopped; run it again to go on where it was")
                raise
        finder = Finder(catalogue.items, vectors.text, vectors.image)
        calibrated = _calibrated(finder, labels, options)
        rules = DEFAULT_RULES if calibrated is None else rules_of(calibrated)
        groups = finder.groups(rules, report)
    problems = _problems(catalogue, labels, vectors)
    summary = _summary(catalogue, groups, vectors, calibrated, problems)
    if options.out is not None:
        tables.write(options.out, catalogue.items, groups, summary)
    if options.report is not None:
        shown = Options(options.report_groups, options.remote_pictures)
        write_report(options.report, catalogue, groups, problems, shown)
    if options.json:
        found = tables.as_json(catalogue.items, groups)
        show_json({"event": "done", **summary, "groups": found})
    else:
        _show(catalogue, groups, summary, options)
    return 0


def _check(options: argparse.Namespace) -> None:
    """Refuse before the work what could not be written after it."""
    precision = options.precision
    if precision is not None and options.pairs is None:
        raise BadRequest("--precision needs --pairs: without labels nothing is known of it")
    if precision is not None and not 0 < precision < 1:
        raise BadRequest(f"--precision is {precision}; it must be between 0 and 1")
    for name in ("out", "report"):
        path = getattr(options, name)
        if path is not None and not path.absolute().parent.is_dir():
            raise BadRequest(f"--{name} {path}: there is no folder {path.absolute().parent}")
    if options.out is not None and options.out.suffix.lower() not in (".csv", ".json"):
        raise BadRequest(f"--out {options.out}: the name must end with .csv or .json")
    if options.report is not None:
        require_pillow()


def _models(client: Client, options: argparse.Namespace) -> dict[Modality, dict[str, Any] | None]:
    """Return the description of each modality's model, None where the service has none."""
    found = client.models()
    return {
        modality: _model(
            modality,
            [one for one in found if one["modality"] == modality.value],
            getattr(options, f"{modality.value}_model"),
        )
        for modality in _DEFAULT_MODELS
    }


def _model(
    modality: Modality, fitting: Sequence[dict[str, Any]], named: str | None
) -> dict[str, Any] | None:
    by_name = {one["name"]: one for one in fitting}
    wanted = named or _DEFAULT_MODELS[modality]
    if wanted in by_name:
        return by_name[wanted]
    if named is None and len(fitting) < 2:
        return fitting[0] if fitting else None
    raise BadRequest(
        f"choose a {modality.value} model with --{modality.value}-model:"
        f" {', '.join(by_name) or 'there is none'}"
    )


def _limits(options: argparse.Namespace) -> Limits:
    folder = options.work or options.items.with_name(options.items.name + ".vectors")
    image_bytes = load().settings.inputs.max_image_bytes
    return Limits(folder, image_bytes, options.patience_s, options.retry_failed)


def _calibrated(
    finder: Finder, labels: Labels | None, options: argparse.Namespace
) -> Mapping[Basis, Calibrated] | None:
    if labels is None:
        return None
    features, duplicates = finder.labelled(labels.pairs)
    return calibrate(features, duplicates, options.precision or _PRECISION)


def _problems(catalogue: Catalogue, labels: Labels | None, vectors: Vectors) -> list[str]:
    found = [f"line {row.line}: {row.reason}" for row in catalogue.bad_rows]
    found += [f"pairs, line {row.line}: {row.reason}" for row in labels.bad_rows] if labels else []
    return found + vectors.problems


def _summary(
    catalogue: Catalogue,
    groups: Sequence[Group],
    vectors: Vectors,
    calibrated: Mapping[Basis, Calibrated] | None,
    problems: list[str],
) -> dict[str, Any]:
    return {
        "items": len(catalogue.items),
        "grouped": sum(len(group.members) for group in groups),
        "models": vectors.models,
        "calibration": {
            basis.value: {
                "duplicates": one.duplicates,
                "others": one.others,
                "precision": one.precision,
                "recall": one.recall,
            }
            for basis, one in (calibrated or {}).items()
        },
        "left_out": problems,
    }


def _show(
    catalogue: Catalogue,
    groups: Sequence[Group],
    summary: Mapping[str, Any],
    options: argparse.Namespace,
) -> None:
    table = Table("group", "items", "representative", "others", box=None)
    for number, group in enumerate(groups[:_SHOWN_GROUPS], 1):
        first, *others = (catalogue.items[member.item].id for member in group.members)
        listed = ", ".join(others[:4]) + (", …" if len(others) > 4 else "")
        table.add_row(str(number), str(len(group.members)), first, listed)
    if groups:
        console.print(table)
    if len(groups) > _SHOWN_GROUPS:
        console.print(f"… {len(groups) - _SHOWN_GROUPS} more groups")
    console.print(f"{len(groups)} groups, {summary['grouped']} of {summary['items']} items")
    for basis, one in summary["calibration"].items():
        console.print(
            f"calibrated by {basis}, {one['duplicates']} duplicates and {one['others']} others:"
            f" precision {one['precision']:.3f}, recall {one['recall']:.3f} (cross-validated)"
        )
    problems = summary["left_out"]
    for problem in problems[:_SHOWN_PROBLEMS]:
        console.print(f"left out: {problem}")
    if len(problems) > _SHOWN_PROBLEMS:
        console.print(f"… {len(problems) - _SHOWN_PROBLEMS} more were left out")
    for path in (options.out, options.report):
        if path is not None:
            console.print(f"written: {path}")


@contextmanager
def _progress(*, as_json: bool) -> Iterator[Report]:
    """Show bars, or print an event a second."""
    if as_json:
        yield _Events()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=progress_console) as progress:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=total)
            progress.update(tasks[stage], completed=done, total=total)

        yield report


class _Events:
    """Prints how far it is, at most once a second and at the end of each stage."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last >= _EVENT_SECONDS or done == total:
            self._last = now
            show_json({"event": "progress", "stage": stage, "done": done, "total": total})
