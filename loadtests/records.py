"""What a test measured: counts and histograms by call and over time, adding up over processes.

Not for judging it: that is `loadtests.objectives`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from loadtests.histogram import Histogram

OVERFLOW = "overflow"
"""The error of a request that was due and not sent, since too many were without an answer."""

_SLOTS = 120


@dataclass
class Tally:
    """What became of some requests.

    Attributes:
        due: requests that the schedule asked for.
        sent: of those, how many were sent; the rest are errors, `overflow`.
        errors: requests that failed, by reason.
        latency: from the moment a request was due to its answer, failed ones too; one that was not
            sent counts with the timeout.
        lag: from the moment a request was due to its sending: the generator's own slowness.
        items: statuses of items, by model and status.
    """

    due: int = 0
    sent: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    latency: Histogram = field(default_factory=Histogram)
    lag: Histogram = field(default_factory=Histogram)
    items: dict[str, Counter[str]] = field(default_factory=dict)

    def merge(self, other: Tally) -> None:
        """Add another's counts."""
        self.due += other.due
        self.sent += other.sent
        self.errors.update(other.errors)
        self.latency.merge(other.latency)
        self.lag.merge(other.lag)
        for model, statuses in other.items.items():
            self.items.setdefault(model, Counter()).update(statuses)

    @property
    def failed(self) -> int:
        """Requests that failed or were not sent."""
        return self.errors.total()

    def rate(self, status: str, model: str | None = None) -> float | None:
        """Return the share of items with a status, of one model or all; None without items."""
        counted: Counter[str] = Counter()
        for name, statuses in self.items.items():
            if model in (None, name):
                counted.update(statuses)
        return counted[status] / counted.total() if counted.total() else None

    def to_data(self) -> dict[str, Any]:
        """Return what `from_data` reads, of types that every encoding has."""
        return {
            "due": self.due,
            "sent": self.sent,
            "errors": dict(self.errors),
            "latency": self.latency.to_data(),
            "lag": self.lag.to_data(),
            "items": {model: dict(statuses) for model, statuses in self.items.items()},
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Tally:
        """Read what `to_data` wrote."""
        return cls(
            due=data["due"],
            sent=data["sent"],
            errors=Counter(data["errors"]),
            latency=Histogram.from_data(data["latency"]),
            lag=Histogram.from_data(data["lag"]),
            items={model: Counter(statuses) for model, statuses in data["items"].items()},
        )


def total(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of tallies."""
    summed = Tally()
    for tally in tallies:
        summed.merge(tally)
    return summed


@dataclass
class Records:
    """What one process measured, or several together.

    Attributes:
        slot_s: seconds of a slot.
        calls: by the label of the call.
        slots: all calls together, by the slot in which they were due.
        done: whether the schedule was gone through to its end.
    """

    slot_s: float = 1.0
    calls: dict[str, Tally] = field(default_factory=dict)
    slots: dict[int, Tally] = field(default_factory=dict)
    done: bool = False

    @classmethod
    def over(cls, seconds: float) -> Records:
        """Return empty records of a test that lasts `seconds`; at most 120 slots."""
        return cls(slot_s=max(1.0, seconds / _SLOTS))

    def at(self, label: str, due_s: float) -> tuple[Tally, Tally]:
        """Return the tallies in which a request belongs: its call's and its slot's."""
        return (
            self.calls.setdefault(label, Tally()),
            self.slots.setdefault(int(due_s / self.slot_s), Tally()),
        )

    def merge(self, other: Records) -> None:
        """Add another's counts; `done` is left alone."""
        for mine, others in ((self.calls, other.calls), (self.slots, other.slots)):
            _merge(mine, others)

    def to_data(self) -> dict[str, Any]:
        """Return what `from_data` reads, of types that every encoding has."""
        return {
            "slot_s": self.slot_s,
            "calls": {label: tally.to_data() for label, tally in self.calls.items()},
            "slots": [[slot, tally.to_data()] for slot, tally in sorted(self.slots.items())],
            "done": self.done,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Records:
        """Read what `to_data` wrote."""
        return cls(
            slot_s=data["slot_s"],
            calls={label: Tally.from_data(tally) for label, tally in data["calls"].items()},
            slots={slot: Tally.from_data(tally) for slot, tally in data["slots"]},
            done=data["done"],
        )


def _merge(mine: dict[Any, Tally], others: Mapping[Any, Tally]) -> None:
    for key, tally in others.items():
        mine.setdefault(key, Tally()).merge(tally)
