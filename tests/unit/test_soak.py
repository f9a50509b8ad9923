"""The verdicts of `benchmarks.soak`. That it runs: by hand, since it takes its time."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import psutil
import pytest

from benchmarks.soak.__main__ import Sample, faults_of
from benchmarks.soak.memory import MIB, Held, grows, held_by, slope
from benchmarks.soak.traffic import Archived, Client, Seen
from embark.binary import Status

STILL = Held(processes=3, rss=1, pss=1, anonymous=200 * MIB, descriptors=60, threads=40)


def samples(*held: Held) -> list[Sample]:
    return [Sample(float(at), at, {"gateway": one, "consumers": one}, 0)
            for at, one in enumerate(held)]  # fmt: skip


def test_what_goes_up_and_down_does_not_grow() -> None:
    chance = random.Random(1)
    assert not grows([200 + chance.uniform(-30, 30) for _ in range(400)], least=8)
    # Full after a while, and still from then on.
    assert not grows([min(200.0, 100 + at) for at in range(400)], least=8)


def test_what_rises_all_the_time_grows() -> None:
    chance = random.Random(1)
    assert grows([200 + at * 0.1 + chance.uniform(-5, 5) for at in range(400)], least=8)
    assert not grows([200 + at * 0.01 for at in range(400)], least=8)


def test_a_slope_is_for_a_million_requests() -> None:
    assert slope([0, 500_000, 1_000_000], [10, 11, 12]) == pytest.approx(2)
    assert slope([5, 5], [1, 2]) == 0


def test_a_process_holds_memory_descriptors_and_threads() -> None:
    program = "import os; held = b'x' * 2**26, os.pipe(); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdout.readline()
        held = held_by([psutil.Process(child.pid)])
        child.stdin.write(b"\n")
    assert 2**26 < held.anonymous < held.pss <= held.rss < 2**28
    assert (held.processes, held.threads, held.descriptors >= 5) == (1, 1, True)
    assert held_by([]) == Held()


def test_errors_are_excused_for_a_while_after_a_restart_only() -> None:
    seen = Seen(errors=[(105.0, "reset"), (119.0, "reset")])
    assert faults_of(samples(*[STILL] * 8), [(100.0, "SIGKILL")], [seen], 8) == []
    (fault,) = faults_of(samples(*[STILL] * 8), [(98.0, "SIGKILL")], [seen], 8)
    assert "1 errors without a restart" in fault
    (fault,) = faults_of(samples(*[STILL] * 8), [(106.0, "SIGKILL")], [seen], 8)
    assert "1 errors without a restart" in fault


def test_wrong_answers_leaks_and_processes_left_over_are_faults() -> None:
    assert faults_of(samples(*[STILL] * 8), [], [Seen(wrong=["x"])], 8) == ["wrong: x"]
    leaking = [Held(3, anonymous=at * 20 * MIB) for at in range(20)]
    found = faults_of(samples(*leaking), [], [], 20)
    assert [fault.partition(":")[0] for fault in found] == ["gateway", "consumers"]
    assert all("anonymous grows steadily" in fault for fault in found)
    left = faults_of(samples(*[STILL] * 7, Held(processes=4)), [], [], 8)
    assert all("3 processes at the start, 4 at the end" in fault for fault in left)
    assert left


def test_a_vector_is_wrong_if_one_number_of_it_is() -> None:
    vectors = np.arange(12, dtype=np.float16).reshape(3, 4)
    archived = Archived("m", "g", ["a", "b", "c"], np.zeros((3, 16), np.uint8), vectors)
    client = Client(1, archived, 0, 0)
    answered = vectors[[2, 0, 1]].copy()
    statuses = np.array([Status.HIT, Status.HIT, Status.OOV], np.uint8)
    client.check([2, 0, 1], statuses, answered)
    assert (client.seen.vectors, client.seen.missing, client.seen.wrong) == (2, 1, [])
    answered[1, 3] += 1
    answered[2, 0] += 1  # of one that is no hit
    client.check([2, 0, 1], statuses, answered)
    assert client.seen.wrong == ["the vector of archived text 0 is another"]
