"""The tables of docs/benchmarks.md, made of the parts' results and put between their marks.

A part that never ran here leaves what the page has. Nothing here judges: see `aims`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.gateway import results as files
from benchmarks.gateway.aims import Loss, aims, losses
from benchmarks.gateway.parts import PARTS, cold, consumers, growth, known, lookups
from benchmarks.gateway.results import Results, Row, values
from benchmarks.gateway.rounds import Spread, ratio, spread

PAGE = Path("docs/benchmarks.md")

_BEGIN, _END = "<!-- begin {0}: written by `benchmarks.gateway table` -->", "<!-- end {0} -->"
_NOTHING = ""
_SHOWN_CASES = 3


class NoPlace(Exception):
    """A page has no marks for a table; the message says which."""


def write_tables(folder: Path, page: Path) -> None:
    """Write every table whose results are in `folder` into a page.

    Raises:
        NoPlace: the page lacks a table's marks.
    """
    measured = {name: found for name in PARTS if (found := files.read(name, folder))}
    text = page.read_text("utf-8")
    for name, results in measured.items():
        lines = [_said(results), "", *_TABLES[name](results), *_notes(results)]
        text = put(text, name, lines)
    if measured:
        text = put(text, "aims", _aims(measured))
        text = put(text, "losses", _losses(losses(measured)))
    page.write_text(text, "utf-8")


def put(text: str, name: str, lines: Iterable[str]) -> str:
    """Return a page with lines between the marks of a name, in place of those there.

    Raises:
        NoPlace: it has no such marks.
    """
    begin, end = _BEGIN.format(name), _END.format(name)
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(text):
        raise NoPlace(f"there is no {begin!r} before {end!r}")
    body = "\n".join([begin, "", *lines, "", end])
    return pattern.sub(lambda found: body, text)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    return [f"| {' | '.join(one)} |" for one in (head, ["---"] * len(head), *rows)]


def shown(found: Spread | None, digits: int = 3) -> str:
    """Return a median with least and most: `0.92 (0.90 to 1.1)`."""
    if found is None:
        return _NOTHING
    median, least, most = (_number(one, digits) for one in (found.median, found.least, found.most))
    return median if least == most else f"{median} ({least} to {most})"


def _number(value: float, digits: int) -> str:
    if value >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def _said(results: Results) -> str:
    return f"{results.when}, {results.machine}, {results.rounds} rounds."


def _notes(results: Results) -> list[str]:
    if not results.notes:
        return []
    return ["", "Left out, and what stopped it:", "", *(f"- {one}" for one in results.notes)]


def _aims(measured: Mapping[str, Results]) -> list[str]:
    verdicts = {True: "yes", False: "**no**", None: "not measured"}
    rows = [
        (one.what, f"{'≤' if one.most else '≥'} {one.bound:g}", shown(one.found), verdicts[one.met])
        for one in aims(measured)
    ]
    return markdown(("ratio", "aim", "median (least to most)", "met"), rows)


def _losses(found: Sequence[Loss]) -> list[str]:
    if not found:
        return ["None of those measured."]
    grouped: dict[tuple[str, str], list[Loss]] = {}
    for one in found:
        grouped.setdefault((one.form, one.other), []).append(one)
    rows = []
    for (form, other), some in grouped.items():
        worst = "; ".join(f"{one.case}: {one.times:.1f} times" for one in some[:_SHOWN_CASES])
        rows.append((form, other, str(len(some)), worst))
    head = (
        "EmbArk's form",
        "is slower than",
        "cases",
        "worst, and how many times as long it takes",
    )
    return markdown(head, rows)


def _grid(
    rows: Iterable[Row],
    column: str,
    cell: Callable[[Row], str],
) -> list[str]:
    """Return a table with a line for each subject and a column for each value of a case's part."""
    some = list(rows)
    columns = list(dict.fromkeys(row.case[column] for row in some))
    cells = {(row.subject, row.case[column]): cell(row) for row in some}
    subjects = list(dict.fromkeys(row.subject for row in some))
    lines = [
        [subject, *(cells.get((subject, one), _NOTHING) for one in columns)]
        for subject in sorted(subjects, key=_order)
    ]
    return markdown(["", *(f"{one:,}" if isinstance(one, int) else one for one in columns)], lines)


def _order(subject: str) -> tuple[int, str]:
    return (0 if subject.startswith("bare") else 1 if subject.startswith("EmbArk") else 2, subject)


def _p50(row: Row) -> str:
    return shown(spread(values(row.slices)))


def _per_second(row: Row) -> str:
    return shown(spread(one.per_s for one in row.slices))


def _lookups(results: Results) -> list[str]:
    lines: list[str] = []
    for modality in dict.fromkeys(row.case["modality"] for row in results.rows):
        some = [row for row in results.rows if row.case["modality"] == modality]
        lines += _by_clients(some, f"{modality}, ")
    return lines[1:]


def _known(results: Results) -> list[str]:
    return _grid(results.rows, "known %", _p50)


def _cold(results: Results) -> list[str]:
    return _by_clients(results.rows)[1:]


def _by_clients(rows: Sequence[Row], what: str = "") -> list[str]:
    """Return a grid for each number of clients, an empty line before each heading."""
    lines: list[str] = []
    for clients in dict.fromkeys(row.case["clients"] for row in rows):
        some = [row for row in rows if row.case["clients"] == clients]
        alone = clients == 1
        unit = "milliseconds of a request" if alone else "requests a second"
        lines += ["", f"**{what}{clients} client{'s' * (not alone)}**, {unit}, by keys:"]
        lines += ["", *_grid(some, "keys", _p50 if alone else _per_second)]
    return lines


def _consumers(results: Results) -> list[str]:
    rows = []
    for modality in dict.fromkeys(str(one.case["modality"]) for one in results.figures):
        through = results.figure(consumers.THROUGH, modality=modality)
        alone = results.figure(consumers.ALONE, modality=modality)
        if through and alone:
            times = ratio(through.values, alone.values)
            spreads = (spread(through.values), spread(alone.values), times)
            rows.append((modality, *(shown(one) for one in spreads)))
    return markdown(("", consumers.THROUGH, consumers.ALONE, "ratio"), rows)


def _growth(results: Results) -> list[str]:
    rows = []
    for case in (one.case for one in results.figures if one.name == growth.OWN):
        figures = (
            results.figure(name, **case) for name in (growth.OWN, growth.DISK, growth.MEMORY)
        )
        found = (results.row(name, **case, keys=growth.BATCH) for name in (growth.HOT, growth.COLD))
        rows.append(
            (
                f"{case['vectors']:,}",
                str(case["dimension"]),
                *(shown(spread(one.values), 4) if one else _NOTHING for one in figures),
                *(_p50(one) if one else _NOTHING for one in found),
            )
        )
    names = (growth.OWN, growth.DISK, growth.MEMORY)
    timed = (f"{name}, ms for {growth.BATCH}" for name in (growth.HOT, growth.COLD))
    return markdown(("vectors", "numbers", *names, *timed), rows)


_TABLES: Mapping[str, Callable[[Results], list[str]]] = {
    lookups.NAME: _lookups,
    known.NAME: _known,
    cold.NAME: _cold,
    consumers.NAME: _consumers,
    growth.NAME: _growth,
}
