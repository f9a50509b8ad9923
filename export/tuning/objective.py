"""What a tuning must keep: bounds on percentiles of latency. Not for choosing: see `choosing`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from embark.errors import BadRequest

PERCENTILES = (50, 90, 95, 99)

_FORM = re.compile(r"p(\d+)=(\d+(?:\.\d+)?)(us|ms|s)")
_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True)
class Measurement:
    """One load on one candidate.

    Attributes:
        concurrency: requests of one input each that were in flight.
        throughput: inputs per second.
        latency_ms: milliseconds by percentile, for each of `PERCENTILES`, in their order.
    """

    concurrency: int
    throughput: float
    latency_ms: tuple[float, ...]

    def percentile_ms(self, percentile: int) -> float:
        """Return a percentile of the latency, milliseconds."""
        return self.latency_ms[PERCENTILES.index(percentile)]


@dataclass(frozen=True)
class Objective:
    """A percentile of the latency is at most `limit_ms` milliseconds."""

    percentile: int
    limit_ms: float

    def __str__(self) -> str:
        return f"p{self.percentile}<={self.limit_ms:g}ms"


def parse_objective(text: str) -> Objective:
    """Return the objective that a text such as `p99=50ms` states.

    Raises:
        BadRequest: it states none.
    """
    form = _FORM.fullmatch(text)
    if form is None or int(form[1]) not in PERCENTILES or float(form[2]) == 0:
        known = ", ".join(f"p{percentile}" for percentile in PERCENTILES)
        raise BadRequest(
            f"objective {text!r} is not PERCENTILE=LIMIT, such as p99=50ms; percentiles are"
            f" {known}, and limits above 0 in us, ms or s"
        )
    return Objective(int(form[1]), float(form[2]) * _MS[form[3]])


def excess(measurement: Measurement, objectives: Sequence[Objective]) -> float:
    """Return the worst ratio of latency to limit; at most 1 if all objectives are met."""
    return max(
        measurement.percentile_ms(objective.percentile) / objective.limit_ms
        for objective in objectives
    )


def best(
    measurements: Sequence[Measurement], objectives: Sequence[Objective]
) -> Measurement | None:
    """Return the measurement of highest throughput among those that meet all objectives."""
    meeting = [one for one in measurements if excess(one, objectives) <= 1]
    return max(meeting, key=lambda one: one.throughput, default=None)
