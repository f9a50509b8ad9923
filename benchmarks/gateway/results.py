"""What a part has measured: rows and notes, with the machine they come from, as JSON.

A row is one subject in one case, with a slice for each round; rounds of one case belong together.
Not for what is made of them: that is `table`.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.gateway.rounds import Slice

FOLDER = Path("benchmarks/results")

Case = Mapping[str, str | int]


@dataclass(frozen=True)
class Row:
    """One subject in one case.

    Attributes:
        case: what was asked: `keys`, `clients` and so on.
        subject: who was asked.
        slices: one a round.
    """

    case: Case
    subject: str
    slices: list[Slice]


@dataclass(frozen=True)
class Figure:
    """Something measured that is no request: once a round.

    Attributes:
        case: of what.
        name: what it is, with its unit.
        values: one a round.
    """

    case: Case
    name: str
    values: list[float]


@dataclass(frozen=True)
class Results:
    """All that one part has measured.

    Attributes:
        part: its name.
        rows, figures: what was measured.
        notes: what was left out, and what stopped it.
        machine: what it ran on.
        rounds: how many.
        when: the day.
    """

    part: str
    rounds: int
    rows: list[Row] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    machine: str = ""
    when: str = ""

    def add(self, case: Case, slices: Mapping[str, Sequence[Slice]]) -> None:
        """Add a case's rows, by subject."""
        self.rows.extend(Row(dict(case), name, list(some)) for name, some in slices.items())

    def row(self, subject: str, **case: str | int) -> Row | None:
        """Return the row of a subject in a case, None if it was not measured."""
        found = (one for one in self.rows if one.subject == subject and one.case == case)
        return next(found, None)

    def figure(self, name: str, **case: str | int) -> Figure | None:
        """Return a figure, None if it was not measured."""
        found = (one for one in self.figures if one.name == name and one.case == case)
        return next(found, None)


def write(results: Results, folder: Path) -> Path:
    """Write a part's results, in place of those before; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    said = asdict(results) | {"machine": machine(), "when": datetime.now(timezone.utc).date()}
    path = folder / f"gateway-{results.part}.json"
    new = path.with_suffix(".new")
    new.write_text(json.dumps(said, indent=1, default=str) + "\n", "utf-8")
    new.replace(path)
    return path


def read(part: str, folder: Path) -> Results | None:
    """Return a part's results, None if it never ran here."""
    path = folder / f"gateway-{part}.json"
    if not path.exists():
        return None
    said: dict[str, Any] = json.loads(path.read_text("utf-8"))
    rows = [
        Row(row["case"], row["subject"], [Slice(**one) for one in row["slices"]])
        for row in said.pop("rows")
    ]
    figures = [Figure(**one) for one in said.pop("figures")]
    return Results(rows=rows, figures=figures, **said)


def machine() -> str:
    """Return what this runs on, in a line."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores ({next(models, platform.machine())}), {memory:.0f} GiB,"
        f" Python {platform.python_version()}"
    )


def values(slices: Iterable[Slice]) -> list[float]:
    """Return the medians of slices, milliseconds."""
    return [one.p50_ms for one in slices]
