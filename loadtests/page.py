"""The outcome of a test as one HTML file: verdict, tables, and what happened when. No scripts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Final

from loadtests.records import Tally
from loadtests.result import Outcome, number

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --bad: #c62828; --good: #2e7d32; --p: #1565c0 }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; --good: #81c784; --p: #90caf9 } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0; width: 100% }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: right }
th:first-child, td:first-child, th.text, td.text { text-align: left }
.bad { color: var(--bad); font-weight: 600 } .good { color: var(--good); font-weight: 600 }
svg { width: 100%; height: auto } svg text { font-size: 11px; fill: currentColor }
.axis { stroke: var(--line) } .event { stroke: var(--bad); stroke-dasharray: 4 3 }
.p50 { stroke: var(--good) } .p99 { stroke: var(--p) } .max { stroke: var(--line) }
.p50, .p99, .max { fill: none; stroke-width: 1.5 }
"""
_VERDICTS: Final = {
    True: '<span class="good">met</span>',
    False: '<span class="bad">breach</span>',
}
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 900, 220, 60, 24

_Curve = tuple[str, Callable[[Tally], float]]


def page(result: Outcome) -> str:
    """Return the page."""
    scenario = result.test.scenario
    verdict = (
        '<span class="good">every objective is met</span>'
        if result.met
        else '<span class="bad">the objectives are not met</span>'
    )
    warning = f'<p class="bad">{escape(result.warning)}</p>' if result.warning else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Load test {escape(scenario.name)}</title><style>{_STYLE}</style></head><body>
<h1>Load test {escape(scenario.name)}: {verdict}</h1>
<p>{scenario.arrivals.seconds:g} s of {scenario.arrivals.process} arrivals, seed {scenario.seed},
{result.workers} sending process(es). Latency counts from the moment a request was due, whether or
not the generator could send it then.</p>{warning}
<h2>Objectives</h2>{_objectives(result)}
<h2>Calls</h2>{_calls(result)}
<h2>Items</h2>{_items(result)}
<h2>Over time</h2>{_charts(result)}
</body></html>
"""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the cells are HTML already."""
    cells = "".join(f"<th>{escape(one)}</th>" for one in head)
    body = "".join(f"<tr>{''.join(f'<td>{one}</td>' for one in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def _objectives(result: Outcome) -> str:
    return _table(
        ("endpoint", "what", "measured", "limit", "margin", "", "note"),
        (
            (
                escape(row.endpoint),
                escape(row.what),
                number(row.measured),
                number(row.limit),
                "" if math.isnan(row.margin) else f"{row.margin:+.1%}",
                _VERDICTS[row.met],
                escape(row.note),
            )
            for row in result.rows
        ),
    )


def _calls(result: Outcome) -> str:
    return _table(
        ("call", "due", "sent", "failed", "p50 ms", "p95 ms", "p99 ms", "p99.9 ms", "max ms",
         "lag p99 ms"),
        (
            (
                escape(label),
                str(tally.due),
                str(tally.sent),
                escape(", ".join(f"{count} {why}" for why, count in tally.errors.items())) or "0",
                *(number(tally.latency.percentile(one)) for one in (50, 95, 99, 99.9)),
                number(tally.latency.longest_ms),
                number(tally.lag.percentile(99)),
            )
            for label, tally in sorted(result.records.calls.items())
        ),
    )  # fmt: skip


def _items(result: Outcome) -> str:
    return _table(
        ("model", "items", "hit", "oov", "failed", "invalid"),
        (
            (
                escape(model),
                str(statuses.total()),
                *(
                    f"{statuses[one]} ({statuses[one] / statuses.total():.2%})"
                    for one in ("hit", "oov", "failed", "invalid")
                ),
            )
            for model, statuses in sorted(result.everything.items.items())
        ),
    )


def _charts(result: Outcome) -> str:
    latency: list[_Curve] = [
        ("max", lambda tally: tally.latency.longest_ms),
        ("p99", lambda tally: tally.latency.percentile(99)),
        ("p50", lambda tally: tally.latency.percentile(50)),
    ]
    oov: list[_Curve] = [("p99", lambda tally: tally.rate("oov") or 0.0)]
    rate: list[_Curve] = [("p50", lambda tally: tally.due / result.records.slot_s)]
    return (
        _chart(result, "latency, ms: median, p99 and longest of each interval", latency)
        + _chart(result, "share of items out of vocabulary", oov)
        + _chart(result, "requests due per second", rate)
    )


def _chart(result: Outcome, title: str, curves: Sequence[_Curve]) -> str:
    records, seconds = result.records, result.test.scenario.arrivals.seconds
    points = {
        name: [
            (slot * records.slot_s, value(tally)) for slot, tally in sorted(records.slots.items())
        ]
        for name, value in curves
    }
    top = max((value for line in points.values() for _, value in line), default=0.0) or 1.0
    lines = "".join(
        f'<polyline class="{name}" points="'
        + " ".join(f"{_x(at, seconds):.1f},{_y(value, top):.1f}" for at, value in line)
        + f'"><title>{name}</title></polyline>'
        for name, line in points.items()
    )
    events = "".join(
        f'<line class="event" x1="{_x(event.at, seconds):.1f}" x2="{_x(event.at, seconds):.1f}"'
        f' y1="0" y2="{_HEIGHT - _BOTTOM}"/><text x="{_x(event.at, seconds) + 4:.1f}" y="12">'
        f"{escape(event.name)}</text>"
        for event in result.test.scenario.event
    )
    base = _HEIGHT - _BOTTOM
    return (
        f"<h3>{escape(title)}</h3>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f'<line class="axis" x1="{_LEFT}" y1="{base}" x2="{_WIDTH}" y2="{base}"/>'
        f'<text x="0" y="12">{number(top)}</text><text x="0" y="{base}">0</text>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 6}">0 s</text>'
        f'<text x="{_WIDTH - 50}" y="{_HEIGHT - 6}">{seconds:g} s</text>{events}{lines}</svg>'
    )


def _x(at_s: float, seconds: float) -> float:
    return _LEFT + at_s / seconds * (_WIDTH - _LEFT)


def _y(value: float, top: float) -> float:
    return (1 - value / top) * (_HEIGHT - _BOTTOM)
