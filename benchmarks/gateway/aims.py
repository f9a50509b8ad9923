"""What was aimed at, as ratios within a run, and where EmbArk is slower than what it is beside.

Pure: results in, verdicts out. A verdict is on the median over rounds; the spread is told with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.gateway.parts import cold, consumers, growth, known, lookups
from benchmarks.gateway.results import Results, Row, values
from benchmarks.gateway.rounds import Spread, ratio, spread

Measured = Mapping[str, Results]
"""Results by part, of those that ran."""

KEYS = f"EmbArk, keys, {lookups.HOT}"
JSON = f"EmbArk, inputs, JSON, {lookups.HOT}"
FLOOR = lookups.FLOORS["keys"]

_TEXT_100: dict[str, str | int] = {"modality": "text", "keys": 100, "clients": 1}
_MILLION: dict[str, str | int] = {"vectors": 1_000_000, "dimension": 384}


@dataclass(frozen=True)
class Aim:
    """One aim.

    Attributes:
        what: the ratio, in words.
        most: whether it is to be at most `bound`; else at least.
        bound: the aim.
        found: what was measured; None if a part of it was not.
    """

    what: str
    most: bool
    bound: float
    found: Spread | None

    @property
    def met(self) -> bool | None:
        """Whether the median keeps it; None if it was not measured."""
        if self.found is None:
            return None
        median = self.found.median
        return median <= self.bound if self.most else median >= self.bound


@dataclass(frozen=True)
class Loss:
    """One case in which something else is faster.

    Attributes:
        form: how EmbArk was asked.
        other: what was faster.
        case: in words.
        times: how many times as long EmbArk takes, by the medians.
    """

    form: str
    other: str
    case: str
    times: float


def aims(measured: Measured) -> list[Aim]:
    """Return every aim with what was found."""
    return [
        Aim("hot lookup of 100 keys, binary ÷ bare Flask, as many bytes, same server", True, 1.5,
            _lookups(measured, KEYS, FLOOR)),
        Aim("the same ÷ bare Flask on gunicorn's threads", True, 1.5,
            _lookups(measured, KEYS, lookups.GUNICORN_FLOOR)),
        Aim("Triton's response cache over gRPC, the same 100 texts by input ÷ that lookup", False,
            30, _lookups(measured, "Triton's cache, gRPC, by input", KEYS)),
        Aim("the same over HTTP ÷ that lookup", False,
            30, _lookups(measured, "Triton's cache, HTTP, by input", KEYS)),
        Aim("Redis behind Flask ÷ that lookup", False, 2,
            _lookups(measured, "Redis behind Flask", KEYS)),
        Aim("cold lookup of 100 keys from Cassandra over HTTP ÷ the bare driver's best", True, 1.2,
            _cold(measured, cold.service("Cassandra"))),
        Aim("the same inside the process, records decoded ÷ the bare driver's best", True, 1.2,
            _cold(measured, cold.archive("Cassandra"))),
        Aim("consumers, texts ÷ Triton alone", False, 0.9, _consumers(measured, "text")),
        Aim("consumers, images ÷ Triton alone", False, 0.9, _consumers(measured, "image")),
        Aim("L1's memory at a million vectors of 384 ÷ their own bytes", True, 1.15,
            _memory(measured)),
    ]  # fmt: skip


def losses(measured: Measured) -> list[Loss]:
    """Return every case in which something that is no floor is faster than EmbArk's hot forms."""
    found = list(_losses_of(measured.get(lookups.NAME), (KEYS, JSON)))
    found += _losses_of(measured.get(known.NAME), (JSON,))
    return sorted(found, key=lambda one: (one.form, one.other, -one.times))


def best_bare(results: Results, keys: int, clients: int) -> Row | None:
    """Return the row of the shape in which the bare Cassandra driver was fastest."""
    rows = [results.row(cold.bare(shape), keys=keys, clients=clients)
            for shape in cold.SHAPES.values()]  # fmt: skip
    return min((row for row in rows if row), key=_median, default=None)


def _lookups(measured: Measured, above: str, below: str) -> Spread | None:
    results = measured.get(lookups.NAME)
    if results is None:
        return None
    return _ratio(results.row(above, **_TEXT_100), results.row(below, **_TEXT_100))


def _cold(measured: Measured, name: str) -> Spread | None:
    results = measured.get(cold.NAME)
    if results is None:
        return None
    return _ratio(results.row(name, keys=100, clients=1), best_bare(results, 100, 1))


def _consumers(measured: Measured, modality: str) -> Spread | None:
    results = measured.get(consumers.NAME)
    if results is None:
        return None
    through = results.figure(consumers.THROUGH, modality=modality)
    alone = results.figure(consumers.ALONE, modality=modality)
    return ratio(through.values, alone.values) if through and alone else None


def _memory(measured: Measured) -> Spread | None:
    results = measured.get(growth.NAME)
    if results is None:
        return None
    memory = results.figure(growth.MEMORY, **_MILLION)
    own = results.figure(growth.OWN, **_MILLION)
    return ratio(memory.values, own.values) if memory and own else None


def _ratio(above: Row | None, below: Row | None) -> Spread | None:
    if above is None or below is None:
        return None
    return ratio(values(above.slices), values(below.slices))


def _losses_of(results: Results | None, forms: tuple[str, ...]) -> Iterator[Loss]:
    if results is None:
        return
    for other in results.rows:
        if other.subject.startswith(("EmbArk", "bare")):
            continue
        for form in forms:
            mine = results.row(form, **other.case)
            if mine is not None and _median(other) < _median(mine):
                case = ", ".join(f"{name} {value}" for name, value in other.case.items())
                yield Loss(form, other.subject, case, _median(mine) / _median(other))


def _median(row: Row) -> float:
    return spread(values(row.slices)).median
