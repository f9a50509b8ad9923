"""Puts the parts together: what a log and some assumptions say about a deployment of EmbArk.

Not for printing (`embark.cli.fit`), nor for judging (`verdict`).
"""

from __future__ import annotations

import math

import numpy as np

from embark.fit.encoders import Encoders
from embark.fit.figures import Assumed, Beyond, Change, Hits, Needs, Queue, Rates, Report
from embark.fit.growth import extrapolations
from embark.fit.replay import Bins, Replay, replay
from embark.fit.returns import returns
from embark.fit.sizing import (
    break_even_interval,
    fill_replicas,
    fill_seconds,
    least_replicas,
)
from embark.fit.trace import Seconds, Trace

HOUR_S, DAY_S = 3600.0, 86400.0
# The last quarter of the log stands for the time after the cold start.
SETTLED = 0.75


def build_report(trace: Trace, assumed: Assumed) -> Report:
    """Replay a trace and draw the conclusions."""
    cold = replay(trace, assumed.encoders)
    seen, bins = cold.seen, cold.bins
    settled = trace.start + SETTLED * trace.duration
    rates = _rates(trace, cold, settled)
    return Report(
        assumed=assumed,
        requests=len(trace),
        distinct=seen.distinct,
        duration_s=trace.duration,
        mean_input_bytes=trace.mean_bytes,
        once_share=seen.once / seen.distinct,
        rates=rates,
        hour=_hits(bins, bins.start, HOUR_S) if trace.duration >= HOUR_S else None,
        day=_hits(bins, bins.start, DAY_S) if trace.duration >= DAY_S else None,
        settled=_hits(bins, settled, math.inf),
        asked_again=returns(cold.asked, seen.second[cold.order], trace.end),
        scored_again=returns(cold.asked, cold.first_hit, trace.end),
        queue=_queue(cold, settled),
        change=_change(trace, cold, rates, assumed, settled),
        needs=_needs(trace, cold, rates, assumed, settled),
        beyond=_beyond(trace, bins, assumed),
        bins=bins,
    )


def _hits(bins: Bins, since: float, seconds: float) -> Hits:
    span = bins.between(since, since + seconds)
    requests = int(bins.requests[span].sum())
    first_seen, oov = int(bins.first_seen[span].sum()), int(bins.oov[span].sum())
    return Hits(requests, first_seen / max(requests, 1), 1 - oov / max(requests, 1))


def _rates(trace: Trace, cold: Replay, settled: float) -> Rates:
    bins = cold.bins
    span = bins.between(settled, math.inf)
    new = bins.first_seen[span]
    new_settled = float(new.sum() / (len(new) * bins.width_s))
    hour = max(1, round(HOUR_S / bins.width_s))
    hours = np.add.reduceat(new, np.arange(0, len(new), hour))[: len(new) // hour]
    new_busiest = float(hours.max() / (hour * bins.width_s)) if len(hours) else new_settled
    return Rates(
        mean=len(trace) / trace.duration,
        peak=float(bins.requests.max() / bins.width_s),
        new_mean=cold.seen.distinct / trace.duration,
        new_settled=new_settled,
        new_busiest=max(new_busiest, new_settled),
        bin_s=bins.width_s,
    )


def _queue(cold: Replay, settled: float) -> Queue:
    waits = cold.ready - cold.asked
    late = waits[cold.asked >= settled]
    p50, p99, longest = (
        np.quantile(late, [0.5, 0.99, 1.0]).tolist() if len(late) else (None, None, None)
    )
    return Queue(cold.deepest, p50, p99, longest, float(waits.max()))


def _change(trace: Trace, cold: Replay, rates: Rates, assumed: Assumed, settled: float) -> Change:
    known = int((cold.asked < settled).sum())
    flushed = replay(trace, assumed.encoders, since=settled)
    interval_s = assumed.change_days * DAY_S
    return Change(
        known=known,
        fill_s=fill_seconds(known, assumed.encoders.capacity, rates.new_settled),
        flushed_oov_share=1 - _hits(flushed.bins, settled, HOUR_S).hit_rate,
        kept_oov_share=1 - _hits(cold.bins, settled, HOUR_S).hit_rate,
        break_even_s=break_even_interval(known, rates.mean, rates.new_settled),
        calls_per_request=(rates.new_settled + known / interval_s) / rates.mean,
    )


def _needs(trace: Trace, cold: Replay, rates: Rates, assumed: Assumed, settled: float) -> Needs:
    encoders, storage = assumed.encoders, assumed.storage
    return Needs(
        for_wait=_replicas_for_wait(encoders, cold.asked, settled, assumed.wait_s),
        for_fill=fill_replicas(
            cold.seen.distinct,
            assumed.fill_hours * HOUR_S,
            encoders.throughput,
            rates.new_settled,
        ),
        inline=math.ceil(rates.peak / encoders.throughput),
        archive_bytes=storage.archive_bytes(cold.seen.distinct, trace.mean_bytes),
        queue_bytes_per_s=storage.queue_bytes(rates.new_busiest, trace.mean_bytes),
    )


def _replicas_for_wait(
    encoders: Encoders, asked: Seconds, settled: float, wait_s: float
) -> int | None:
    late = asked >= settled

    def is_enough(some: Encoders) -> bool:
        waits = (some.ready_times(asked) - asked)[late]
        return bool(np.quantile(waits, 0.99) <= wait_s)

    return least_replicas(encoders, is_enough) if late.any() else 1


def _beyond(trace: Trace, bins: Bins, assumed: Assumed) -> tuple[Beyond, Beyond]:
    requests = len(trace) * (1 + assumed.horizon_days * DAY_S / trace.duration)
    made = []
    for one in extrapolations(bins):
        distinct = one.law.distinct(requests)
        archive_bytes = assumed.storage.archive_bytes(distinct, trace.mean_bytes)
        made.append(Beyond(one, distinct, one.law.new_share(requests), archive_bytes))
    heaps, steady = made
    return heaps, steady
