"""A report as rows for people: figure, value, and where the value is from.

`log` is counted in the log, `replay` computed by replaying it, `formula` by `sizing`, and
`extrapolated` goes beyond the log.
"""

from __future__ import annotations

from collections.abc import Iterator

from embark.fit.figures import Beyond, Hits, Report
from embark.fit.growth import Heaps
from embark.fit.verdict import duration

Row = tuple[str, str, str]


def rows(report: Report) -> Iterator[Row]:
    """Yield the rows, in the order in which a reader asks."""
    yield from _log(report)
    yield from _replay(report)
    yield from _needs(report)
    for one in report.beyond:
        yield _beyond(one, report.assumed.horizon_days)


def _log(report: Report) -> Iterator[Row]:
    rates = report.rates
    yield "requests", f"{report.requests:,} in {duration(report.duration_s)}", "log"
    yield (
        "requests a second",
        f"{rates.mean:.3g}; {rates.peak:.3g} in the busiest {duration(rates.bin_s)}",
        "log",
    )
    inputs = f"{report.distinct:,}, {report.mean_input_bytes:.0f} bytes on average"
    yield "distinct inputs", f"{inputs}; {report.once_share:.1%} only once", "log"
    again = report.asked_again
    yield (
        "asked again after",
        f"half of inputs {duration(again.quantile(0.5))}, 90 % {duration(again.quantile(0.9))}",
        "log",
    )


def _replay(report: Report) -> Iterator[Row]:
    spans = (
        ("first hour", report.hour),
        ("first day", report.day),
        ("last quarter", report.settled),
    )
    for name, span in spans:
        yield f"hit rate, {name}", _hits(span), "replay"
    scored = report.scored_again
    yield (
        "first hit after",
        f"half of inputs {duration(scored.quantile(0.5))}, 90 % {duration(scored.quantile(0.9))}",
        "replay",
    )
    queue = report.queue
    value = "no new inputs"
    if queue.p50_s is not None:
        value = f"p50 {duration(queue.p50_s)}, p99 {duration(queue.p99_s)}"
    yield "wait for a vector, last quarter", value, "replay"
    yield (
        "longest queue, with cold start",
        f"{queue.deepest:,} inputs, {duration(queue.cold_longest_s)}",
        "replay",
    )
    change = report.change
    yield (
        "model change: OOV in the hour after",
        f"{change.kept_oov_share:.1%}; if the archive were emptied {change.flushed_oov_share:.1%}",
        "replay",
    )


def _hits(span: Hits | None) -> str:
    if span is None:
        return "the log is shorter"
    if not span.requests:
        return "no requests"
    return f"{span.hit_rate:.2%}; {span.first_seen_share:.2%} of requests are of new inputs"


def _needs(report: Report) -> Iterator[Row]:
    assumed, needs, change = report.assumed, report.needs, report.change
    yield "model change: time to recompute", duration(change.fill_s), "formula"
    yield (
        f"replicas for a p99 wait of {duration(assumed.wait_s)}",
        "no number is enough" if needs.for_wait is None else str(needs.for_wait),
        "replay",
    )
    yield f"replicas to recompute in {assumed.fill_hours:g} h", str(needs.for_fill), "formula"
    yield (
        "inline: replicas for the busiest moment",
        f"{needs.inline}, if encoding fits the time budget at all",
        "formula",
    )
    yield (
        "encoder calls for each request",
        f"{change.calls_per_request:.3g}; inline 1",
        "formula",
    )
    copies = assumed.storage.copies
    yield "archive", f"{_bytes(needs.archive_bytes)}, {copies} copies", "formula"
    yield "Kafka, busiest hour", f"{_bytes(needs.queue_bytes_per_s)}/s", "formula"


def _beyond(one: Beyond, days: float) -> Row:
    law, error = one.extrapolation.law, one.extrapolation.error
    name = f"Heaps, exponent {law.exponent:.2f}" if isinstance(law, Heaps) else "steady growth"
    goodness = "untested" if error is None else f"was {error:+.1%} off on this log"
    inputs = f"{one.distinct:,.0f} inputs, {_bytes(one.archive_bytes)}"
    value = f"{inputs}, {one.new_share:.2%} of requests new; {goodness}"
    return f"in {days:g} days more: {name}", value, "extrapolated"


def _bytes(count: float) -> str:
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.3g} B"
