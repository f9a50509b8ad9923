"""What is turned away, by a clock moved by hand: the estimate, and a whole overload simulated."""

from __future__ import annotations

import heapq
import random

import pytest

from gateway.server.load import Load
from tests.support.clock import Clock

OBJECTIVE_S = 0.1


def serve(load: Load, work_s: float, times: int = 1) -> None:
    for _ in range(times):
        load.enter()
        load.begin()
        load.end(work_s, paused=False)


def test_an_idle_process_takes_everything() -> None:
    load = Load(OBJECTIVE_S, Clock())
    assert load.has_room()
    serve(load, 5.0, times=100)
    assert load.has_room()
    assert load.unanswered == 0


def test_there_is_room_for_as_much_work_as_fits_in_time() -> None:
    load = Load(OBJECTIVE_S, Clock())
    serve(load, 0.01, times=200)
    taken = 0
    while load.has_room():
        load.enter()
        load.begin()
        taken += 1
        assert taken < 100
    # 10 ms each, one after another, and a third of 100 ms to wait.
    assert taken == pytest.approx(4, abs=1)


@pytest.mark.parametrize(("work_s", "taken"), [(0.03, 2), (0.04, 2), (0.05, 2), (0.06, 1)])
def test_a_second_one_is_taken_while_both_fit_in_time(work_s: float, taken: int) -> None:
    load = Load(OBJECTIVE_S, Clock())
    serve(load, work_s, times=400)
    for _ in range(taken):
        assert load.has_room()
        load.enter()
        load.begin()
    assert not load.has_room()


def test_requests_that_wait_on_purpose_take_no_room() -> None:
    load = Load(OBJECTIVE_S, Clock())
    serve(load, 0.01, times=200)
    for _ in range(1000):
        load.enter()
        load.begin()
        load.pause()
        assert load.has_room()
    for _ in range(1000):
        load.end(0.01, paused=True)
    assert load.unanswered == 0


def test_threads_that_are_stuck_are_noticed_by_those_who_wait_for_one() -> None:
    clock = Clock()
    load = Load(OBJECTIVE_S, clock)
    load.enter()
    load.begin()
    load.enter()
    assert load.has_room()
    clock.now += 1
    assert not load.has_room()
    load.begin()
    assert load.has_room()


def test_what_takes_no_work_here_is_learned_from_the_pace_of_answers() -> None:
    clock = Clock()
    load = Load(OBJECTIVE_S, clock)
    for _ in range(100):
        load.enter()
        load.begin()
    for _ in range(97):
        clock.now += 0.02
        load.end(0.0001, paused=False)
    # Three are left: too few to tell, so they may be as fast as they like.
    assert load.has_room()
    load.enter()
    load.begin()
    assert not load.has_room()


def test_an_estimate_that_is_too_high_is_found_out() -> None:
    clock = Clock()
    load = Load(OBJECTIVE_S, clock)
    for _ in range(200):
        load.enter()
        load.begin()
    for _ in range(200):
        clock.now += 10
        load.end(0.001, paused=False)
    # From now on an answer takes a millisecond, and there are always as many as are let in.
    for _ in range(300):
        while load.has_room() and load.unanswered < 20:
            load.enter()
            load.begin()
        clock.now += 0.001
        load.end(0.001, paused=False)
    assert load.unanswered == 19


@pytest.mark.parametrize("times", [0.7, 1.5, 3.0, 10.0])
def test_what_is_taken_under_overload_is_answered_in_time(times: float) -> None:
    """One server that works 4 ms a request on average, asked `times` as often as it can answer."""
    clock, chance = Clock(), random.Random(1)
    load = Load(OBJECTIVE_S, clock)
    arrivals, waiting = [], 0
    at = clock.now
    while at < clock.now + 20:
        at += chance.expovariate(times / 0.004)
        arrivals.append(at)
    queue: list[float] = []
    free_at, taken, latencies = clock.now, 0, []
    ends: list[tuple[float, float, float]] = []
    for arrival in arrivals:
        # What the server does until then.
        while queue and free_at <= arrival:
            clock.now = began = max(free_at, queue[0])
            if began > arrival:
                break
            came = queue.pop(0)
            load.begin()
            work_s = chance.uniform(0.002, 0.006)
            free_at = began + work_s
            heapq.heappush(ends, (free_at, work_s, came))
        while ends and ends[0][0] <= arrival:
            clock.now, work_s, came = heapq.heappop(ends)
            load.end(work_s, paused=False)
            latencies.append(clock.now - came)
        clock.now = arrival
        waiting = len(queue)
        if load.has_room():
            load.enter()
            queue.append(arrival)
            taken += 1
    latencies.sort()
    assert waiting < 100
    assert latencies[int(len(latencies) * 0.99)] < OBJECTIVE_S
    # And no more is turned away than must be.
    assert taken > 0.9 * min(len(arrivals), 20 / 0.004)
