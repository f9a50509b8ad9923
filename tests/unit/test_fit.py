"""The replay against a simulation of each request, and estimates against known answers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embark.codec import encode_embedding
from embark.errors import ConfigurationError
from embark.fit import Assumed, Encoders, Storage, Trace, build_report, replay
from embark.fit.encoders import deepest
from embark.fit.growth import Heaps, Steady, extrapolations
from embark.fit.replay import Bins
from embark.fit.returns import returns
from embark.fit.sizing import (
    break_even_interval,
    fill_replicas,
    fill_seconds,
    least_replicas,
)
from embark.fit.trace import sightings
from embark.fit.verdict import judge
from embark.keys import Key

DAY_S = 86400.0

encoders = st.builds(
    Encoders,
    throughput=st.sampled_from([0.5, 1.0, 4.0, 1000.0]),
    replicas=st.integers(1, 3),
    batch=st.integers(1, 4),
    overhead_s=st.sampled_from([0.0, 0.25]),
)
# Times on a grid that floats hold exactly, so that ties are ties.
requests = st.lists(st.tuples(st.integers(0, 160), st.integers(0, 12)), min_size=1, max_size=60)


def trace_of(pairs: list[tuple[float, int]]) -> Trace:
    ordered = sorted(pairs)  # of inputs first asked for at one time, the lower number goes first
    times = np.array([time for time, _ in ordered], np.float64)
    inputs = np.array([name for _, name in ordered], np.int32)
    return Trace(times, inputs, int(inputs.max()) + 1, mean_bytes=30.0)


def zipf_trace(count: int, items: int, days: float, seed: int = 0) -> Trace:
    """Requests of a fixed catalogue."""
    rng = np.random.default_rng(seed)
    weights = np.arange(1, items + 1) ** -0.9
    inputs = rng.choice(items, count, p=weights / weights.sum()).astype(np.int32)
    return Trace(np.sort(rng.uniform(0, days * DAY_S, count)), inputs, items, mean_bytes=30.0)


def one_by_one(trace: Trace, encoders: Encoders) -> tuple[list[bool], dict[int, float]]:
    """Which requests are hits, and when vectors are ready: each request and batch in turn."""
    queue: list[tuple[float, int]] = []
    for time, name in zip(trace.times.tolist(), trace.inputs.tolist(), strict=True):
        if name not in [other for _, other in queue]:
            queue.append((time, name))
    waiting = [(time + encoders.overhead_s, name) for time, name in queue]
    free = [0.0] * encoders.replicas
    ready: dict[int, float] = {}
    takes = encoders.batch_seconds()
    while waiting:
        server = min(range(encoders.replicas), key=lambda number: free[number])
        now = max(free[server], waiting[0][0])
        batch = [name for due, name in waiting if due <= now][: encoders.batch]
        waiting = waiting[len(batch) :]
        free[server] = now + takes[len(batch)]
        ready.update((name, free[server]) for name in batch)
    hits = [
        time >= ready[name]
        for time, name in zip(trace.times.tolist(), trace.inputs.tolist(), strict=True)
    ]
    return hits, ready


@given(requests, encoders)
def test_a_replay_is_what_going_request_by_request_gives(
    pairs: list[tuple[int, int]], some: Encoders
) -> None:
    trace = trace_of([(time / 8, name) for time, name in pairs])
    hits, ready = one_by_one(trace, some)
    got = replay(trace, some)

    assert dict(zip(got.order.tolist(), got.ready.tolist(), strict=True)) == pytest.approx(ready)
    assert int(got.bins.oov.sum()) == hits.count(False)
    assert int(got.bins.requests.sum()) == len(pairs)
    assert int(got.bins.first_seen.sum()) == len({name for _, name in pairs})
    named = list(zip(trace.times.tolist(), trace.inputs.tolist(), hits, strict=True))
    for name, first_hit in zip(got.order.tolist(), got.first_hit.tolist(), strict=True):
        mine = [time for time, other, hit in named if other == name and hit]
        assert first_hit == (mine[0] if mine else math.inf)
    in_hand = [
        sum(asked <= moment < ready[name] for name, asked in zip(got.order, got.asked, strict=True))
        for moment in got.asked.tolist()
    ]
    assert got.deepest == max(in_hand)


@given(requests, st.integers(1, 7), st.integers(0, 160))
def test_sightings_do_not_depend_on_the_blocks(
    pairs: list[tuple[int, int]], block: int, since: int
) -> None:
    trace = trace_of([(float(time), name) for time, name in pairs])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("embark.fit.trace._BLOCK", block)
        got = sightings(trace, since)
    for name in range(trace.numbers):
        mine = sorted(time for time, other in pairs if other == name and time >= since)
        assert (got.first[name], got.second[name]) == tuple([*mine, math.inf, math.inf][:2])


def test_a_full_batch_takes_what_the_throughput_says() -> None:
    some = Encoders(throughput=100, batch=8, latency_s=0.03)
    takes = some.batch_seconds()
    assert takes[1] == 0.03
    assert takes[8] == pytest.approx(8 / 100)
    flood = some.ready_times(np.zeros(800))
    assert flood[-1] == pytest.approx(8.0)
    assert deepest(np.zeros(800), flood) == 800


@pytest.mark.parametrize(
    "wrong",
    [{"throughput": 0}, {"throughput": math.nan}, {"replicas": 0}, {"latency_s": 0.2}],
    ids=str,
)
def test_impossible_encoders_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        replace(Encoders(throughput=100), **wrong)


def test_the_estimate_of_returns_is_that_of_the_textbook() -> None:
    """Remission times under 6-mercaptopurine, Freireich et al. 1963, as every textbook shows."""
    ended = [6, 6, 6, 7, 10, 13, 16, 22, 23]
    censored = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    # Everybody is seen until 40; who is censored after c entered at 40 - c.
    first = np.array([0.0] * len(ended) + [40.0 - one for one in censored])
    event = np.array([*map(float, ended), *[math.inf] * len(censored)])
    got = returns(first, event, end=40.0)

    survival = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
    assert got.after_s.tolist() == list(survival)
    np.testing.assert_allclose(1 - got.share, list(survival.values()), atol=5e-4)
    assert got.within(5.9) == 0
    assert got.quantile(0.5) == 23
    assert got.quantile(0.9) is None


def bins_of(distinct: np.ndarray) -> Bins:
    """A thousand requests a bin, and these cumulative distinct inputs."""
    first_seen = np.diff(distinct, prepend=0).astype(np.int64)
    return Bins(0.0, 60.0, np.full(len(distinct), 1000), first_seen, first_seen)


def test_growth_finds_the_law_that_made_the_log() -> None:
    counts = 1000.0 * np.arange(1, 201)
    heaps, steady = extrapolations(bins_of(np.round(20 * counts**0.6)))
    assert isinstance(heaps.law, Heaps)
    assert heaps.law.exponent == pytest.approx(0.6, abs=0.01)
    assert heaps.error == pytest.approx(0, abs=0.01)
    assert heaps.law.distinct(1e6) == pytest.approx(20 * 1e6**0.6, rel=0.02)
    assert steady.error is not None
    assert steady.error > 0.05  # new inputs become rarer, which steady growth does not know

    heaps, steady = extrapolations(bins_of(5000 + 0.03 * counts))
    assert isinstance(steady.law, Steady)
    assert steady.law.share == pytest.approx(0.03)
    assert steady.law.distinct(1e6) == pytest.approx(35_000)
    assert steady.error == pytest.approx(0, abs=1e-3)


def test_a_fill_ends_when_nothing_is_missing() -> None:
    known, capacity, new = 10_000.0, 50.0, 5.0
    missing, elapsed, step = known, 0.0, 0.5
    while missing > 0:
        missing += new * step  # one more input to fill, and one interactive computation of it
        missing -= (capacity - new) * step
        elapsed += step
    assert fill_seconds(known, capacity, new) == pytest.approx(elapsed, abs=step)
    assert fill_seconds(known, 10.0, 5.0) == math.inf
    assert fill_replicas(known, elapsed, 25.0, new) == 2


def test_at_the_break_even_interval_no_calls_are_saved() -> None:
    per_second, new, known = 40.0, 2.0, 9_000.0
    interval = break_even_interval(known, per_second, new)
    assert known + new * interval == pytest.approx(per_second * interval)
    assert break_even_interval(known, 3.0, 3.0) == math.inf


def test_the_fewest_replicas_are_found() -> None:
    base = Encoders(throughput=1.0)
    for enough in (1, 2, 3, 7, 8, 100):

        def is_enough(some: Encoders, bound: int = enough) -> bool:
            return some.replicas >= bound

        assert least_replicas(base, is_enough) == enough
    assert least_replicas(base, lambda some: False) is None


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_record_is_as_long_as_the_archive_writes_it(dtype: str) -> None:
    key = Key("m", "0" * 16, bytes(16))
    record = encode_embedding(key, np.ones(384, np.float32), dtype, now_ms=0)
    assert Storage(384, dtype).record_bytes == len(record)


def test_a_log_that_suits_is_said_to_fit_and_its_reverse_not_to() -> None:
    assumed = Assumed(Encoders(throughput=60.0), Storage(384), fill_hours=1.0)
    good = build_report(zipf_trace(200_000, 2_000, days=1), assumed)
    assert [one.holds for one in judge(good)] == [True, True, True]
    assert good.settled.hit_rate > 0.999
    assert good.change.kept_oov_share < 0.001
    assert good.change.flushed_oov_share > 0.1

    rng = np.random.default_rng(1)
    unique = Trace(
        np.sort(rng.uniform(0, DAY_S, 20_000)), np.arange(20_000, dtype=np.int32), 20_000, 30.0
    )
    bad = build_report(unique, replace(assumed, change_days=0.01))
    assert [one.holds for one in judge(bad)] == [False, False, False]
    assert bad.settled.hit_rate == 0
    assert bad.once_share == 1


def test_replicas_for_a_wait_are_enough_and_one_fewer_is_not() -> None:
    trace = zipf_trace(50_000, 30_000, days=0.1)
    assumed = Assumed(Encoders(throughput=0.2), Storage(384), wait_s=30.0)
    needed = build_report(trace, assumed).needs.for_wait
    assert needed is not None
    assert needed > 1

    def p99(replicas: int) -> float:
        some = replace(assumed.encoders, replicas=replicas)
        waited = build_report(trace, replace(assumed, encoders=some)).queue.p99_s
        assert waited is not None
        return waited

    assert p99(needed) <= 30.0 < p99(needed - 1)
