"""When each request is due: the schedule of an open-loop test, drawn before it begins.

A closed loop sends the next request when the last was answered, so a server that stalls is asked
less while it stalls and the percentiles hide it (coordinated omission). Here the schedule is fixed,
and latency counts from the moment at which a request was due.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from loadtests.scenario import Arrivals, Stage

Times = npt.NDArray[np.float64]


def schedule(arrivals: Arrivals, seed: int, index: int, count: int) -> Times:
    """Return when one of `count` processes sends its requests: seconds, ascending.

    Unit-rate arrivals are mapped through the inverse of the cumulative rate. Independent Poisson
    processes of a rate/count each make one of the rate; constant arrivals are dealt out in turn.

    Args:
        arrivals: of all processes together.
        seed: of the scenario.
        index: which process, from 0.
        count: how many there are.
    """
    total = sum(_expected(stage) for stage in arrivals.stages)
    if arrivals.process == "constant":
        units = np.arange(index + 0.5, total, count)
    else:
        units = _poisson(total / count, np.random.default_rng((seed, index))) * count
    return _when(units, arrivals.stages)


def _expected(stage: Stage) -> float:
    return (stage.rate + stage.last_rate) / 2 * stage.seconds


def _poisson(expected: float, rng: np.random.Generator) -> Times:
    # Given their number, the arrivals of a Poisson process are uniform.
    return np.sort(rng.uniform(0, expected, rng.poisson(expected)))


def _when(units: Times, stages: tuple[Stage, ...]) -> Times:
    """Invert the cumulative rate, which is quadratic within a stage."""
    times = np.empty_like(units)
    begin, before = 0.0, 0.0
    for stage in stages:
        expected = _expected(stage)
        inside = (units >= before) & (units < before + expected)
        left = units[inside] - before
        slope = (stage.last_rate - stage.rate) / stage.seconds
        root = np.sqrt(np.maximum(stage.rate**2 + 2 * slope * left, 0))
        with np.errstate(invalid="ignore"):
            times[inside] = begin + np.nan_to_num(2 * left / (stage.rate + root))
        begin, before = begin + stage.seconds, before + expected
    return times
