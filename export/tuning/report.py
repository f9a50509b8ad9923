"""What `embark tune` prints: a table of the finalists and the choice, or the same as JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from export.tuning.choosing import medians
from export.tuning.objective import PERCENTILES, Measurement, Objective, best, excess
from export.tuning.record import Candidate, Tuning
from export.tuning.sweep import Sweep

_WIDTH = 120


@dataclass(frozen=True)
class Outcome:
    """One tuning.

    Attributes:
        name: public model name.
        objectives: what must be met.
        baseline: the settings before.
        sweep: what was measured.
        tuning: what was chosen, None if nothing meets the objectives.
        written: whether it was written.
    """

    name: str
    objectives: Sequence[Objective]
    baseline: Candidate
    sweep: Sweep
    tuning: Tuning | None
    written: bool


def as_json(outcome: Outcome) -> str:
    """Return the outcome as one line of JSON."""
    tuning, sweep = outcome.tuning, outcome.sweep
    rows = [
        {
            "candidate": candidate.model_dump(),
            "baseline": candidate == outcome.baseline,
            "rounds": len(rounds),
            "measurements": [_figures(one) for one in medians(rounds)],
        }
        for candidate, rounds in (
            *sweep.rounds.items(),
            *(
                (one, [measured])
                for one, measured in sweep.first.items()
                if one not in sweep.rounds
            ),
        )
    ]
    return json.dumps(
        {
            "model": outcome.name,
            "objectives": [str(objective) for objective in outcome.objectives],
            "tuning": None if tuning is None else tuning.model_dump(),
            "ratio": None if tuning is None else _ratio(tuning),
            "closest": {
                "candidate": sweep.closest.candidate.model_dump(),
                **_figures(sweep.closest.measurement),
            },
            "written": outcome.written,
            "measured": rows,
        }
    )


def as_text(outcome: Outcome) -> str:
    """Return the finalists' medians at their best concurrency, and the choice in words."""
    table = Table("settings", "in flight", "inputs/s", "p50 ms", "p99 ms", "meets", box=None)
    for candidate, rounds in outcome.sweep.rounds.items():
        points = medians(rounds)
        point = best(points, outcome.objectives)
        shown = point or min(points, key=lambda one: excess(one, outcome.objectives))
        table.add_row(
            f"{candidate}{' (present)' if candidate == outcome.baseline else ''}",
            str(shown.concurrency),
            f"{shown.throughput:.1f}",
            f"{shown.percentile_ms(50):.1f}",
            f"{shown.percentile_ms(99):.1f}",
            "yes" if point else "no",
        )
    page = io.StringIO()
    Console(file=page, width=_WIDTH, highlight=False, markup=False).print(table)
    return f"{page.getvalue()}{_verdict(outcome)}"


def _verdict(outcome: Outcome) -> str:
    tuning, wanted = outcome.tuning, " and ".join(map(str, outcome.objectives))
    if tuning is None:
        near = outcome.sweep.closest
        return (
            f"{outcome.name}: no settings meet {wanted}; nothing was written. Closest:"
            f" {near.candidate}, with p99 {near.measurement.percentile_ms(99):.1f} ms at"
            f" {near.measurement.concurrency} in flight"
        )
    figures = (
        f"{tuning.throughput:.1f} inputs/s, p99 {tuning.p99_ms:.1f} ms at {tuning.concurrency}"
        " in flight"
    )
    if tuning.candidate == outcome.baseline:
        said = f"{outcome.name}: the present settings stay, none is ahead in every round: {figures}"
    else:
        ratio = _ratio(tuning)
        ahead = "the settings before miss it" if ratio is None else f"{ratio:.2f} x of before"
        said = f"{outcome.name}: {tuning.candidate}: {figures}; {ahead}"
    if not outcome.written:
        return f"{said}. Nothing was written (--dry-run)."
    return f"{said}. Written; Retina serves with it when it is started again."


def _ratio(tuning: Tuning) -> float | None:
    before = tuning.baseline_throughput
    return None if before is None else tuning.throughput / before


def _figures(measurement: Measurement) -> dict[str, float]:
    latencies = {f"p{one}_ms": measurement.percentile_ms(one) for one in PERCENTILES}
    return {
        "concurrency": measurement.concurrency,
        "throughput": measurement.throughput,
        **latencies,
    }
