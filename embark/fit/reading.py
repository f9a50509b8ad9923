"""A request log, CSV, becomes a trace: one pass, memory by distinct inputs, not by lines.

Lines go to a temporary file of 12 bytes each, in the order of time; lines that come out of order by
no more than a window are put right. Not for what the requests mean (`replay`, `returns`).
"""

from __future__ import annotations

import csv
import gzip
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from embark.errors import BadRequest
from embark.fit.ordering import Order, Spool
from embark.fit.times import UNITS, unit_of
from embark.fit.trace import Trace

_LINES_AT_ONCE = 1 << 17
_SHOWN = 5
_MOST_LATE = 0.1


@dataclass(frozen=True)
class Columns:
    """Where a log says what.

    Attributes:
        time: header of the time.
        input: header of the input: the text, the URL, or any name that stands for it.
        model: header of the model; a log without it is of one model.
        only: the model to keep, where there are several.
        unit: one of `times.UNITS`.
    """

    time: str = "time"
    input: str = "input"
    model: str = "model"
    only: str | None = None
    unit: str = "auto"


@dataclass
class Reading:
    """What became of a log's lines.

    Attributes:
        lines: lines below the header.
        unit: how times were read.
        bad: lines that could not be read, left out.
        examples: the first of those: line number and reason.
        late: lines left out because they came out of order by more than the window.
        latest_s: by how many seconds the worst of them did.
        other_models: lines of models that were not asked for.
    """

    lines: int = 0
    unit: str = "auto"
    bad: int = 0
    examples: list[tuple[int, str]] = field(default_factory=list)
    late: int = 0
    latest_s: float = 0.0
    other_models: int = 0

    def refuse(self, line: int, reason: str) -> None:
        """Count a bad line."""
        self.bad += 1
        if len(self.examples) < _SHOWN:
            self.examples.append((line, reason))


def read_log(
    path: Path,
    columns: Columns,
    window_s: float,
    *,
    progress: Callable[[int], None] = lambda lines: None,
) -> tuple[Trace, Reading]:
    """Read a log, plain or gzip.

    Args:
        path: the file; its first line names the columns.
        columns: the names to look for.
        window_s: by how many seconds lines may be out of order.
        progress: told how many lines were read, now and then.

    Raises:
        BadRequest: the file or a column is not there, several models are and none is chosen, no
            line can be read, or a tenth of them is out of order.
    """
    reading = Reading()
    inputs = _Inputs()
    with tempfile.TemporaryFile() as times, tempfile.TemporaryFile() as numbers:
        order = Order(window_s, Spool(times, "<f8"), Spool(numbers, "<i4"))
        try:
            with _open(path) as file:
                for some_times, some_numbers in _parsed(file, columns, reading, inputs, path):
                    order.add(some_times, some_numbers)
                    progress(reading.lines)
        except (OSError, EOFError) as error:
            raise BadRequest(f"cannot read {path}: {error}", code="unreadable_log") from None
        order.finish()
        reading.late, reading.latest_s = order.late, order.latest_s
        _require_enough(path, order.times.count, reading)
        mean_bytes = inputs.total_bytes / len(inputs.numbers)
        trace = Trace(order.times.array(), order.numbers.array(), len(inputs.numbers), mean_bytes)
    return trace, reading


class _Rows(Protocol):
    """What `csv.reader` returns."""

    line_num: int

    def __next__(self) -> list[str]: ...


class _Inputs:
    """Numbers inputs as they appear, and knows them by a 64-bit hash.

    Among 10 million inputs, the odds that two clash are one in 400,000; they would count as one.
    """

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}
        self.total_bytes = 0

    def number(self, content: str) -> int:
        known = self.numbers
        name = hash(content)
        number = known.get(name)
        if number is None:
            number = known[name] = len(known)
            self.total_bytes += len(content.encode("utf-8", "surrogateescape"))
        return number


def _open(path: Path) -> IO[str]:
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    opener = gzip.open if is_gzip else open
    # Inputs that are no UTF-8 stay distinct.
    return opener(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="")


def _parsed(
    file: Iterable[str], columns: Columns, reading: Reading, inputs: _Inputs, path: Path
) -> Iterator[tuple[list[float], list[int]]]:
    """Yield times and input numbers of good lines, many at once."""
    rows = csv.reader(file)
    header = [name.strip() for name in next(rows, [])]
    time_at = _position(header, columns.time, path)
    input_at = _position(header, columns.input, path)
    parse = _TimeReader(columns.unit)
    models = _Models(header, columns, path)
    times: list[float] = []
    numbers: list[int] = []
    for row in _tolerant(rows, reading):
        reading.lines += 1
        try:
            if not models.keeps(row):
                reading.other_models += 1
                continue
            time, content = parse(row[time_at]), row[input_at]
            if not content:
                raise ValueError("the input is empty")
        except (ValueError, IndexError, OverflowError) as error:
            reason = "too few columns" if isinstance(error, IndexError) else str(error)
            reading.refuse(rows.line_num, reason)
            continue
        times.append(time)
        numbers.append(inputs.number(content))
        if len(times) == _LINES_AT_ONCE:
            yield times, numbers
            times, numbers = [], []
    reading.unit = parse.unit
    yield times, numbers


class _TimeReader:
    """Reads times, all in one unit: the given one, or that of the first time."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self._parse = UNITS.get(unit)

    def __call__(self, text: str) -> float:
        if self._parse is None:
            self.unit = unit_of(text)
            self._parse = UNITS[self.unit]
        time = self._parse(text)
        if not math.isfinite(time):
            raise ValueError(f"the time {text!r} is not finite")
        return time


class _Models:
    """Which lines are of the model that is asked for."""

    def __init__(self, header: Sequence[str], columns: Columns, path: Path) -> None:
        self._is_chosen = columns.only is not None
        self._model = columns.only
        has_column = columns.model in header
        self._at = _position(header, columns.model, path) if has_column or self._is_chosen else None

    def keeps(self, row: Sequence[str]) -> bool:
        """Return whether a row is of the model.

        Raises:
            BadRequest: none was chosen, and this is a second one.
        """
        if self._at is None:
            return True
        model = row[self._at]
        if self._model is None:
            self._model = model
        if model != self._model and not self._is_chosen:
            raise BadRequest(
                f"the log is of several models, {self._model!r} and {model!r} among them:"
                " choose one with --model",
                code="several_models",
            )
        return model == self._model


def _tolerant(rows: _Rows, reading: Reading) -> Iterator[list[str]]:
    """Yield rows; one that is no CSV is counted, an empty one is nothing."""
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            reading.lines += 1
            reading.refuse(rows.line_num, str(error))
            continue
        if row:
            yield row


def _position(header: Sequence[str], name: str, path: Path) -> int:
    if name not in header:
        raise BadRequest(
            f"{path} has no column {name!r}; its columns are: {', '.join(header) or 'none'}",
            code="no_column",
        )
    return header.index(name)


def _require_enough(path: Path, kept: int, reading: Reading) -> None:
    if not kept:
        why = "; ".join(f"line {line}: {reason}" for line, reason in reading.examples)
        raise BadRequest(
            f"{path} has no request that can be read" + (f": {why}" if why else ""),
            code="no_requests",
        )
    if reading.late > _MOST_LATE * reading.lines:
        raise BadRequest(
            f"{reading.late} of {reading.lines} lines of {path} are out of order, by up to"
            f" {reading.latest_s:g} s: sort the log, or raise --window-seconds",
            code="out_of_order",
        )
