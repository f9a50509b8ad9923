"""A report as JSON: names, numbers and a short series. Infinite and unknown figures become null."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from embark.fit.figures import Beyond, Report
from embark.fit.reading import Reading
from embark.fit.replay import Bins
from embark.fit.returns import Returns
from embark.fit.verdict import SOON_S, judge

_POINTS = 400


def as_json(report: Report, reading: Reading) -> dict[str, Any]:
    """Return what `embark fit --json` prints; docs/fit.md names the fields."""
    verdicts = judge(report)
    return {
        "fits": all(one.holds for one in verdicts),
        "assumptions": [asdict(one) for one in verdicts],
        "log": {
            "lines": reading.lines,
            "bad": reading.bad,
            "bad_examples": [list(one) for one in reading.examples],
            "late": reading.late,
            "other_models": reading.other_models,
            "time_unit": reading.unit,
            "requests": report.requests,
            "distinct": report.distinct,
            "duration_s": report.duration_s,
            "mean_input_bytes": report.mean_input_bytes,
            "once_share": report.once_share,
        },
        "assumed": asdict(report.assumed),
        "rates_per_s": asdict(report.rates),
        "hits": {
            "first_hour": report.hour and asdict(report.hour),
            "first_day": report.day and asdict(report.day),
            "last_quarter": asdict(report.settled),
        },
        "asked_again": _returns(report.asked_again),
        "scored_again": _returns(report.scored_again),
        "queue": asdict(report.queue),
        "change": {name: _finite(value) for name, value in asdict(report.change).items()},
        "needs": asdict(report.needs),
        "extrapolated": [_beyond(one) for one in report.beyond],
        "series": series(report.bins),
    }


def series(bins: Bins) -> dict[str, list[float]]:
    """Return counts over time in at most 400 steps: seconds since the start, and of each step."""
    step = max(1, math.ceil(len(bins.requests) / _POINTS))
    begins = np.arange(0, len(bins.requests), step)
    counts = {
        name: np.add.reduceat(getattr(bins, name), begins).tolist()
        for name in ("requests", "first_seen", "oov")
    }
    return {"since_s": (begins * bins.width_s).tolist(), **counts}


def _returns(one: Returns) -> dict[str, float | None]:
    return {
        "median_s": one.quantile(0.5),
        "p90_s": one.quantile(0.9),
        f"within_{SOON_S:.0f}_s": one.within(SOON_S),
    }


def _beyond(one: Beyond) -> dict[str, Any]:
    return {
        "law": asdict(one.extrapolation.law),  # type: ignore[call-overload]
        "error_on_second_half": one.extrapolation.error,
        "distinct": one.distinct,
        "new_share": one.new_share,
        "archive_bytes": one.archive_bytes,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
