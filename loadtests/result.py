"""The outcome of a test: figures and verdict, as JSON and as text; the page is `loadtests.page`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from loadtests.histogram import needed
from loadtests.objectives import Row, as_data, judge, late_generator
from loadtests.options import Test
from loadtests.records import Records, Tally, total

PERCENTILES: Final = (50.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True)
class Outcome:
    """What came out of a test.

    Attributes:
        test: what was to be done.
        records: of all processes together.
        workers: how many processes sent.
        rows: each bound and whether it was met.
        warning: what spoils the figures, empty if nothing does.
    """

    test: Test
    records: Records
    workers: int
    rows: Sequence[Row]
    warning: str

    @property
    def met(self) -> bool:
        """Whether every bound was met."""
        return all(row.met for row in self.rows)

    @property
    def everything(self) -> Tally:
        """All calls of the mix together."""
        return total(self.records.calls.get(label, Tally()) for label in self.test.labels)


def outcome(test: Test, parts: Iterable[Records], lost: str) -> Outcome:
    """Add up what the processes measured, and judge it.

    Args:
        test: what was to be done.
        parts: of each process.
        lost: why measurements are missing, empty if they are not.
    """
    records = Records.over(test.scenario.arrivals.seconds)
    workers = 0
    for workers, part in enumerate(parts, 1):  # noqa: B007 - the last is their number
        records.merge(part)
    rows = judge(test.objectives, records, test.labels, lost)
    return Outcome(test, records, workers, rows, late_generator(records, rows))


def to_data(result: Outcome) -> dict[str, Any]:
    """Return the outcome as JSON has it; docs/loadtests.md says what the names mean."""
    records = result.records
    return {
        "scenario": result.test.scenario.name,
        "seed": result.test.scenario.seed,
        "seconds": result.test.scenario.arrivals.seconds,
        "workers": result.workers,
        "met": result.met,
        "warning": result.warning,
        "objectives": as_data(result.rows),
        "all": _figures(result.everything),
        "calls": {label: _figures(tally) for label, tally in sorted(records.calls.items())},
        "events": [
            {"at": event.at, "name": event.name, "kind": event.kind}
            for event in result.test.scenario.event
        ],
        "timeline": [
            {"at": slot * records.slot_s, **_figures(tally)}
            for slot, tally in sorted(records.slots.items())
        ],
    }


def show(result: Outcome, console: Console) -> None:
    """Print the figures and the verdict."""
    console.print(_calls_table(result))
    table = Table(title="objectives", title_justify="left", box=None, padding=(0, 1))
    for column in ("endpoint", "what", "measured", "limit", "margin", "", "note"):
        table.add_column(column, justify="right" if column in _NUMBERS else "left")
    for row in result.rows:
        table.add_row(
            row.endpoint,
            row.what,
            number(row.measured),
            number(row.limit),
            f"{row.margin:+.1%}" if not math.isnan(row.margin) else "",
            "met" if row.met else "BREACH",
            row.note,
        )
    console.print(table)
    if result.warning:
        console.print(f"warning: {result.warning}")
    console.print("every objective is met" if result.met else "the objectives are NOT met")


def number(value: float | None) -> str:
    """Return a figure with four digits, a dash for none."""
    return "-" if value is None or math.isnan(value) else f"{value:.4g}"


_NUMBERS = ("measured", "limit", "margin")


def _calls_table(result: Outcome) -> Table:
    title = (
        f"{result.test.scenario.name}: {result.test.scenario.arrivals.seconds:g} s,"
        f" {result.workers} process{'es' if result.workers != 1 else ''}; latency in ms from when a"
        " request was due"
    )
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1))
    columns = (
        "call",
        "due",
        "failed",
        "p50",
        "p95",
        "p99",
        "p99.9",
        "max",
        "hit",
        "oov",
        "lag p99",
    )
    for column in columns:
        table.add_column(column, justify="left" if column == "call" else "right")
    tallies: Mapping[str, Tally] = result.records.calls
    for label, tally in [*sorted(tallies.items()), ("all of the mix", result.everything)]:
        figures = _figures(tally)
        table.add_row(
            label,
            str(tally.due),
            str(tally.failed),
            *(
                number(figures["latency_ms"][name])
                for name in ("p50", "p95", "p99", "p99.9", "max")
            ),
            number(tally.rate("hit")),
            number(tally.rate("oov")),
            number(figures["lag_ms"]["p99"]),
        )
    return table


def _figures(tally: Tally) -> dict[str, Any]:
    return {
        "due": tally.due,
        "sent": tally.sent,
        "failed": tally.failed,
        "errors": dict(tally.errors),
        "latency_ms": _percentiles(tally),
        "lag_ms": {
            "p50": _known(tally.lag.percentile(50)),
            "p99": _known(tally.lag.percentile(99)),
            "max": tally.lag.longest_ms,
        },
        "items": {model: dict(statuses) for model, statuses in sorted(tally.items.items())},
        "hit_rate": tally.rate("hit"),
        "oov_rate": tally.rate("oov"),
    }


def _percentiles(tally: Tally) -> dict[str, float | None]:
    """Return the percentiles for which there are enough requests; None for the others."""
    enough = {f"p{one:g}": len(tally.latency) >= needed(one) for one in PERCENTILES}
    found: dict[str, float | None] = {
        f"p{one:g}": _known(tally.latency.percentile(one)) if enough[f"p{one:g}"] else None
        for one in PERCENTILES
    }
    return {**found, "max": tally.latency.longest_ms}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
