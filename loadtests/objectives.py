"""The objectives of a test, as a file states them, and whether what was measured meets them.

A figure that cannot be judged, for want of requests or because the generator did not send what was
scheduled, is a breach: a test never passes by measuring less.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import Field, model_validator

from embark.errors import ConfigurationError
from loadtests.histogram import needed
from loadtests.records import Records, Tally, total
from loadtests.toml_file import Section, parse

ALL: Final = "*"

_LAG_PERCENT = 99
_LAG_SHARE = 0.25


class Objective(Section):
    """Bounds for one call of the mix.

    Attributes:
        endpoint: label of the call; `*` for all of the mix together.
        scenario: name of the scenario to which it applies; None for every one.
        percentile: of the latency; together with `limit_ms`.
        limit_ms: what the percentile must not reach.
        error_budget: largest share of requests that may fail, those not sent among them.
        minimum_hit_rate: smallest share of items that must be hits.
        model: for the hit rate: only the items of this model.
        minimum_requests: fewest requests that there must have been.
    """

    endpoint: str = ALL
    scenario: str | None = None
    percentile: float | None = Field(None, gt=0, lt=100)
    limit_ms: float | None = Field(None, gt=0)
    error_budget: float | None = Field(None, ge=0, le=1)
    minimum_hit_rate: float | None = Field(None, ge=0, le=1)
    model: str | None = None
    minimum_requests: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _states_something(self) -> Objective:
        if (self.percentile is None) != (self.limit_ms is None):
            raise ValueError("percentile and limit_ms go together")
        if self.model is not None and self.minimum_hit_rate is None:
            raise ValueError("model is for minimum_hit_rate, which is not given")
        bounds = (self.limit_ms, self.error_budget, self.minimum_hit_rate, self.minimum_requests)
        if all(bound is None for bound in bounds):
            raise ValueError("states no bound")
        return self


class Objectives(Section):
    """A file of objectives."""

    objective: tuple[Objective, ...] = Field(min_length=1)

    def of(self, scenario: str) -> list[Objective]:
        """Return those that apply to a scenario."""
        return [one for one in self.objective if one.scenario in (None, scenario)]


@dataclass(frozen=True)
class Row:
    """One bound and what became of it.

    Attributes:
        measured, limit: in the unit that `what` says; NaN measured is nothing to measure.
        margin: how far the bound is, as a share of it; negative beyond.
        note: why it counts as it does, where the figures do not say.
    """

    endpoint: str
    what: str
    measured: float
    limit: float
    margin: float
    met: bool
    note: str = ""


def read_objectives(path: Path) -> Objectives:
    """Read a file of objectives.

    Raises:
        ConfigurationError: it cannot be read, or is wrong; the message says what.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"objectives {path} cannot be read: {error}") from None
    return parse(text, Objectives, str(path))


def check_endpoints(objectives: Iterable[Objective], labels: Iterable[str]) -> None:
    """Raise ConfigurationError if an objective is for a call that the scenario does not make."""
    known = [ALL, *labels]
    for one in objectives:
        if one.endpoint not in known:
            raise ConfigurationError(
                f"an objective is for endpoint {one.endpoint!r}; the scenario has:"
                f" {', '.join(known)}"
            )


def judge(
    objectives: Iterable[Objective], records: Records, labels: Iterable[str], lost: str = ""
) -> list[Row]:
    """Return a row for each bound, and first one for the generator itself.

    Args:
        objectives: what is asked.
        records: of all processes together.
        labels: the calls of the mix, which `*` adds up.
        lost: why measurements are missing, empty if they are not.
    """
    tallies = {label: records.calls.get(label, Tally()) for label in labels}
    everything = total(tallies.values())
    tallies[ALL] = everything
    rows = [_generator(everything, lost)]
    for one in objectives:
        rows += _bounds(one, tallies[one.endpoint])
    return rows


def late_generator(records: Records, rows: Iterable[Row]) -> str:
    """Return a warning if the generator's own lag is a good part of a latency limit, else ''."""
    limits = [row.limit for row in rows if row.what.endswith(" ms")]
    lag_ms = total(records.calls.values()).lag.percentile(_LAG_PERCENT)
    if not limits or not lag_ms > _LAG_SHARE * min(limits):
        return ""
    return (
        f"the load generator itself was late: p{_LAG_PERCENT} of its lag is {lag_ms:.1f} ms, which"
        " the latencies contain. Use more workers, or a machine that does not run the service."
    )


def _generator(everything: Tally, lost: str) -> Row:
    met = not lost and everything.due > 0
    share = everything.sent / everything.due if everything.due else math.nan
    note = lost or ("" if met else "no request was due")
    return Row(ALL, "requests sent of those due", share, 1.0, share - 1.0, met, note)


def _bounds(one: Objective, tally: Tally) -> list[Row]:
    rows = []
    if one.percentile is not None and one.limit_ms is not None:
        rows.append(_latency(one.endpoint, one.percentile, one.limit_ms, tally))
    if one.error_budget is not None:
        share = tally.failed / tally.due if tally.due else math.nan
        note = ", ".join(f"{count} {reason}" for reason, count in tally.errors.most_common())
        rows.append(_at_most(one.endpoint, "share of errors", share, one.error_budget, note))
    if one.minimum_hit_rate is not None:
        rate = tally.rate("hit", one.model)
        what = "hit rate" if one.model is None else f"hit rate of {one.model}"
        rows.append(
            _at_least(one.endpoint, what, math.nan if rate is None else rate, one.minimum_hit_rate)
        )
    if one.minimum_requests is not None:
        rows.append(_at_least(one.endpoint, "requests", float(tally.due), one.minimum_requests))
    return rows


def _latency(endpoint: str, percent: float, limit_ms: float, tally: Tally) -> Row:
    measured = tally.latency.percentile(percent)
    enough = len(tally.latency) >= needed(percent)
    note = "" if enough else f"{len(tally.latency)} requests; needs {needed(percent)}"
    margin = 1 - measured / limit_ms
    return Row(
        endpoint, f"p{percent:g} ms", measured, limit_ms, margin, enough and margin > 0, note
    )


def _at_most(endpoint: str, what: str, measured: float, limit: float, note: str) -> Row:
    return Row(endpoint, what, measured, limit, limit - measured, measured <= limit, note)


def _at_least(endpoint: str, what: str, measured: float, limit: float) -> Row:
    return Row(endpoint, what, measured, limit, measured - limit, measured >= limit)


def as_data(rows: Iterable[Row]) -> list[Mapping[str, object]]:
    """Return rows as JSON has them: NaN is None."""
    return [
        {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in vars(row).items()
        }
        for row in rows
    ]
