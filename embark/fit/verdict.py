"""The three assumptions that EmbArk rests on, judged by a report's figures, in words.

The bounds are choices, not laws of nature; docs/fit.md says why these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from embark.fit.figures import Report

SOON_S = 600.0
SOON_SHARE = 0.5
HARMLESS_OOV = 0.01
RARE = 0.05
FILL_SHARE = 0.1
DAY_S = 86400.0


@dataclass(frozen=True)
class Verdict:
    """One assumption.

    Attributes:
        assumption: what must be true.
        holds: whether it is, by the bounds of this module.
        because: the figures.
        break_even: where it would turn.
    """

    assumption: str
    holds: bool
    because: str
    break_even: str


def judge(report: Report) -> tuple[Verdict, Verdict, Verdict]:
    """Judge the assumptions, in the order of docs/fit.md."""
    return _scored_again(report), _rare(report), _seldom_changed(report)


def _scored_again(report: Report) -> Verdict:
    soon = report.scored_again.within(SOON_S)
    oov = 1 - report.settled.hit_rate
    once = report.once_share
    return Verdict(
        "a new input is scored again soon, with its vector",
        soon >= SOON_SHARE or oov <= HARMLESS_OOV,
        f"{soon:.0%} of new inputs have a hit within {duration(SOON_S)}, half within"
        f" {duration(report.scored_again.quantile(0.5))}; {once:.0%} are in the log only once."
        f" {oov:.2%} of the requests of the last quarter get a placeholder",
        f"holds while {SOON_SHARE:.0%} have a hit by then, or at most {HARMLESS_OOV:.0%} of"
        " requests get a placeholder",
    )


def _rare(report: Report) -> Verdict:
    share = report.settled.first_seen_share
    rates, capacity = report.rates, report.assumed.encoders.capacity
    return Verdict(
        "new inputs are rare next to known ones",
        share <= RARE and rates.new_busiest < capacity,
        f"{share:.2%} of the requests of the last quarter are of new inputs:"
        f" {rates.new_settled:.3g} a second, {rates.new_busiest:.3g} in the busiest hour; the"
        f" encoders compute {capacity:g}",
        f"the queue grows without end below {rates.new_busiest:.3g} inputs/s of encoders; judged"
        f" rare up to {RARE:.0%}",
    )


def _seldom_changed(report: Report) -> Verdict:
    change, interval_s = report.change, report.assumed.change_days * DAY_S
    return Verdict(
        "embeddings rarely change",
        change.fill_s <= FILL_SHARE * interval_s and interval_s >= change.break_even_s,
        f"{change.known:,} known inputs are computed again in {duration(change.fill_s)}, and a"
        f" change is assumed each {duration(interval_s)}; lookups keep the old vectors meanwhile",
        f"holds while a change comes no oftener than each"
        f" {duration(max(change.fill_s / FILL_SHARE, change.break_even_s))}; below"
        f" {duration(change.break_even_s)} encoding each request inline takes fewer encoder calls",
    )


def duration(seconds: float | None) -> str:
    """Return a duration for people; None is one that the log does not show."""
    if seconds is None:
        return "more than the log shows"
    if math.isinf(seconds):
        return "for ever"
    for size, unit in ((DAY_S, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1000:.3g} ms"
