"""`embark fit`: whether EmbArk fits a request log."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from embark.cli.output import console, progress_console, show_json
from embark.errors import BadRequest
from embark.fit import Assumed, Columns, Encoders, Reading, Report, Storage, build_report, read_log
from embark.fit.plain import as_json
from embark.fit.plot import draw, require_matplotlib
from embark.fit.table import rows
from embark.fit.times import UNITS
from embark.fit.verdict import Verdict, duration, judge

# `minilm` on two CPU cores, see docs/tuning.md.
_THROUGHPUT = 60.0


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "fit",
        help="say from a request log whether EmbArk fits",
        description="Replay a request log through an archive that is empty at first. Exits 0 if the"
        " three assumptions of docs/fit.md hold, 1 if one does not, 2 for wrong usage or a log that"
        " cannot be read. Runs no model and asks no service.",
    )
    add = parser.add_argument
    add("--log", type=Path, required=True, help="CSV with a header line, plain or gzip")
    add("--time-column", default="time", help="default: time")
    add("--input-column", default="input", help="the input, or a name for it; default: input")
    add("--model-column", default="model", help="default: model; a log may be without it")
    add("--model", help="keep only this model's requests")
    add("--time-unit", choices=("auto", *UNITS), default="auto", help="default: by the first line")
    add(
        "--window-seconds",
        type=float,
        default=60.0,
        help="lines may be out of order by so much; default: 60",
    )
    _add_assumptions(parser)
    add("--json", action="store_true", help="print one line of JSON")
    add("--plot", type=Path, help="also write a picture to this file; needs matplotlib")
    parser.set_defaults(run=run)


def _add_assumptions(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what a log does not say")
    add = group.add_argument
    add(
        "--throughput",
        type=float,
        help=f"inputs/s of one replica, as `embark tune` measures; default: {_THROUGHPUT:g},"
        " minilm on 2 CPU cores",
    )
    add("--replicas", type=int, default=1, help="default: 1")
    add("--batch", type=int, default=16, help="most inputs of an inference; default: 16")
    add("--latency-ms", type=float, help="of an inference of one input; default: 1/throughput")
    add(
        "--overhead-ms",
        type=float,
        default=30.0,
        help="queue and archive around an inference; default: 30, as on one machine",
    )
    add("--dimension", type=int, default=384, help="of the vectors; default: 384")
    add("--dtype", choices=("float16", "float32"), default="float16", help="default: float16")
    add("--copies", type=int, default=3, help="replication; default: 3")
    add("--change-days", type=float, default=30.0, help="days between models; default: 30")
    add("--fill-hours", type=float, default=24.0, help="wished time to recompute; default: 24")
    add("--wait-seconds", type=float, default=60.0, help="wished p99 of new inputs; default: 60")
    add("--horizon-days", type=float, default=30.0, help="how far to look ahead; default: 30")


def run(options: argparse.Namespace) -> int:
    """Print the report."""
    if options.plot:
        require_matplotlib()
    assumed = _assumed(options)
    columns = Columns(
        options.time_column,
        options.input_column,
        options.model_column,
        options.model,
        options.time_unit,
    )
    report, reading = _made(options, columns, assumed)
    verdicts = judge(report)
    if options.plot:
        draw(report, options.plot)
    if options.json:
        show_json(as_json(report, reading))
    else:
        _show(report, reading, verdicts, is_throughput_given=options.throughput is not None)
    return 0 if all(one.holds for one in verdicts) else 1


def _assumed(options: argparse.Namespace) -> Assumed:
    for name in ("change_days", "fill_hours", "wait_seconds"):
        if not getattr(options, name) > 0:
            raise BadRequest(f"--{name.replace('_', '-')} must be above 0", code="invalid_option")
    for name in ("horizon_days", "window_seconds"):
        if not getattr(options, name) >= 0:
            raise BadRequest(f"--{name.replace('_', '-')} must be 0 or more", code="invalid_option")
    encoders = Encoders(
        throughput=_THROUGHPUT if options.throughput is None else options.throughput,
        replicas=options.replicas,
        batch=options.batch,
        latency_s=None if options.latency_ms is None else options.latency_ms / 1000,
        overhead_s=options.overhead_ms / 1000,
    )
    return Assumed(
        encoders,
        Storage(options.dimension, options.dtype, options.copies),
        change_days=options.change_days,
        fill_hours=options.fill_hours,
        wait_s=options.wait_seconds,
        horizon_days=options.horizon_days,
    )


def _made(
    options: argparse.Namespace, columns: Columns, assumed: Assumed
) -> tuple[Report, Reading]:
    shown = TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*shown, console=progress_console, transient=True) as progress:
        task = progress.add_task("reading", total=None)

        def tell(lines: int) -> None:
            progress.update(task, description=f"{lines:,} lines read")

        trace, reading = read_log(options.log, columns, options.window_seconds, progress=tell)
        progress.update(task, description=f"replaying {len(trace):,} requests")
        return build_report(trace, assumed), reading


def _show(
    report: Report,
    reading: Reading,
    verdicts: tuple[Verdict, ...],
    *,
    is_throughput_given: bool,
) -> None:
    _show_reading(reading)
    table = Table("figure", "value", "from", box=None)
    for row in rows(report):
        table.add_row(*row)
    console.print(table)
    encoders = report.assumed.encoders
    console.print(
        f"\nreplay: {encoders.replicas} x {encoders.throughput:g} inputs/s"
        + ("" if is_throughput_given else " (assumed; give --throughput)")
        + ", an archive that is empty at first. A placeholder is the out-of-vocabulary vector."
    )
    for number, one in enumerate(verdicts, 1):
        console.print(f"\n{number}. {one.assumption}: {'holds' if one.holds else 'DOES NOT HOLD'}")
        console.print(f"   {one.because}.\n   Break-even: {one.break_even}.")
    fits = all(one.holds for one in verdicts)
    console.print("\nEmbArk fits this log." if fits else "\nEmbArk does not fit this log as it is.")


def _show_reading(reading: Reading) -> None:
    for line, reason in reading.examples:
        console.print(f"line {line}: {reason}")
    if reading.bad:
        console.print(f"{reading.bad:,} of {reading.lines:,} lines cannot be read; left out")
    if reading.late:
        console.print(
            f"{reading.late:,} lines come too late, by up to {duration(reading.latest_s)}; left"
            " out: --window-seconds keeps them"
        )
