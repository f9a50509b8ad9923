"""Filling, coverage and purging of a generation, on the real embedded archive and queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embark.backends import Backends
from embark.codec import Embedding
from embark.coverage import coverage, drift
from embark.errors import ArchiveUnavailable
from embark.filling import Filling, Progress
from embark.inputs import image_input
from embark.keys import digest
from embark.purging import purge
from embark.queue.base import Lane
from embark.sources import Source, Sources
from embark.store.base import LATE, Found, Store
from tests.support.generations import NEW, OLD, TwoGenerations, two_generations
from tests.support.stack import wait_until

TEXTS = [f"text {number}" for number in range(450)]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[TwoGenerations]:
    with two_generations(tmp_path, archive__usage__window_seconds=0.05) as opened:
        yield opened


def known(here: TwoGenerations, texts: list[str]) -> None:
    here.ask(*texts)
    while here.consume():
        pass
    here.computed.clear()


def filling(
    here: TwoGenerations, stop: threading.Event | None = None, per_second: float = 0
) -> tuple[Filling, list[Progress]]:
    told: list[Progress] = []
    made = Filling(
        here.backends,
        here.new,
        per_second=per_second,
        stop=stop or threading.Event(),
        report=told.append,
    )
    return made, told


def test_every_known_input_is_computed_once(here: TwoGenerations) -> None:
    known(here, [*TEXTS, "bad one"])
    with here.consuming():
        ended = filling(here)[0].run()
    # Only what was embedded is known: the archive keeps no source of what failed.
    assert (ended.known, ended.done, ended.failed, ended.forgotten) == (450, 450, 0, 0)
    assert sorted(map(str, here.computed)) == sorted(str(here.key(t, here.new)) for t in TEXTS)
    records = here.archive.get_many(here.new, [here.key(text).digest for text in TEXTS], 5)
    assert all(isinstance(record, Embedding) for record in records)


def test_the_most_used_are_first(here: TwoGenerations) -> None:
    known(here, TEXTS)
    for text, uses in (("text 440", 3), ("text 430", 2), ("text 400", 1)):
        for _ in range(uses):
            here.lookup([text], model="words")
    found = coverage(here.backends, here.old, here.new)
    wait_until(
        lambda: coverage(here.backends, here.old, here.new).uses == 6, 60, f"counted; {found}"
    )
    with here.consuming():
        filling(here)[0].run()
    first = [key.digest for key in here.computed[:3]]
    assert first == [here.key(text).digest for text in ("text 440", "text 430", "text 400")]


def test_a_filling_that_was_stopped_goes_on_where_it_was(here: TwoGenerations) -> None:
    known(here, TEXTS)
    stop = threading.Event()
    made, told = filling(here, stop, per_second=2000)
    with here.consuming():
        runner = threading.Thread(target=made.run)
        runner.start()
        wait_until(lambda: told and told[-1].done >= 100, 300, "some are done")
        stop.set()
        runner.join()
        # What it had queued is computed by the consumer; only then may nothing be queued twice.
        wait_until(lambda: here.queue.status()[Lane.BULK].depth == 0, 300, "the queue is empty")
        assert filling(here)[0].run().done == 450
    assert len(here.computed) == len(set(here.computed)) == 450


def test_a_pause_counts_at_once_and_a_resume_goes_on(here: TwoGenerations) -> None:
    known(here, TEXTS)
    here.generations.pause("words", NEW, paused=True)
    made, told = filling(here)
    with here.consuming():
        runner = threading.Thread(target=made.run)
        runner.start()
        wait_until(lambda: told and told[-1].paused, 60, "it is paused")
        assert here.computed == []
        here.generations.pause("words", NEW, paused=False)
        runner.join(300)
    assert not runner.is_alive()
    assert len(here.computed) == 450


def test_the_rate_is_a_bound(here: TwoGenerations) -> None:
    known(here, TEXTS)
    began = time.monotonic()
    with here.consuming():
        filling(here, per_second=1000)[0].run()
    # 450 inputs in chunks of 200: the last chunk waits for the two before it.
    assert time.monotonic() - began >= 400 / 1000


def test_inputs_whose_content_is_not_remembered_are_told(here: TwoGenerations) -> None:
    known(here, TEXTS[:3])
    image = image_input(b"an image")
    Sources(here.backends.ledger).remember(
        "words", {digest(image): Source(image.kind, image.payload)}
    )
    with here.consuming():
        ended = filling(here)[0].run()
    assert (ended.known, ended.done, ended.forgotten) == (4, 3, 1)


def test_inputs_that_come_meanwhile_are_filled_too(here: TwoGenerations) -> None:
    known(here, TEXTS[:300])
    made, told = filling(here, per_second=600)
    with here.consuming():
        runner = threading.Thread(target=made.run)
        runner.start()
        wait_until(lambda: told and told[-1].pending, 60, "it has begun")
        here.ask("late")
        runner.join(300)
    assert here.key("late", here.new) in here.computed


def test_a_filling_whose_queue_stands_still_says_so(here: TwoGenerations) -> None:
    known(here, TEXTS[:10])
    stop = threading.Event()
    made, told = filling(here, stop)
    runner = threading.Thread(target=made.run)
    runner.start()
    wait_until(lambda: told and told[-1].still_s > 0.5, 60, "it is told")
    assert told[-1].pending == 10
    stop.set()
    runner.join()
    assert here.queue.status()[Lane.BULK].depth == 10


def test_a_filling_ends_when_what_it_waits_for_is_not_known_any_more(
    here: TwoGenerations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embark.filling._ASK_AGAIN_SECONDS", 0.0)
    known(here, TEXTS[:3])
    made, told = filling(here)
    runner = threading.Thread(target=made.run)
    runner.start()
    wait_until(lambda: told and told[-1].pending == 3, 60, "it is queued")
    forget_sources(here, TEXTS[:3])
    runner.join(300)
    assert not runner.is_alive()
    assert max(progress.forgotten for progress in told) == 3
    assert told[-1].pending == 0


def test_a_filling_ends_when_its_generation_is_retired_meanwhile(here: TwoGenerations) -> None:
    known(here, TEXTS[:3])
    made, told = filling(here)
    runner = threading.Thread(target=made.run)
    runner.start()
    wait_until(lambda: told and told[-1].pending == 3, 60, "it is queued")
    assert not told[-1].retired
    here.generations.retire("words", NEW)
    runner.join(300)
    assert not runner.is_alive()
    assert made.run().retired


def forget_sources(here: TwoGenerations, texts: list[str]) -> None:
    """As after `archive.sources.days`."""
    digests = [here.key(text).digest for text in texts]
    Sources(here.backends.ledger).forget("words", digests)


def test_of_inputs_that_nobody_knows_coverage_is_not_whole(here: TwoGenerations) -> None:
    assert coverage(here.backends, here.old, here.new).share == 1, "there is nothing to cover"
    known(here, TEXTS[:10])
    here.ask(*TEXTS[:3], model=here.new)
    here.consume()
    forget_sources(here, TEXTS[:10])
    found = coverage(here.backends, here.old, here.new)
    assert (found.inputs, found.covered) == (10, 3)
    assert found.share == pytest.approx(0.3)
    assert coverage(here.backends, here.old, here.new, lists_unknown=False).inputs == 0


class LateStore:
    """Is late with one of the records that are asked, a number of times."""

    def __init__(self, store: Store, times: int) -> None:
        self.digests = store.digests
        self._store, self._times = store, times

    def get_many(
        self, model: str, generation: str, digests: Sequence[bytes], timeout_s: float
    ) -> list[Found]:
        found = self._store.get_many(model, generation, digests, timeout_s)
        self._times -= 1
        return [LATE, *found[1:]] if self._times >= 0 else found


def late(here: TwoGenerations, times: int) -> Backends:
    store: Any = LateStore(here.store, times)
    return Backends(store, here.backends.ledger, here.queue)


@pytest.mark.parametrize("times", [1, 2])
def test_what_the_archive_is_late_with_is_asked_again(here: TwoGenerations, times: int) -> None:
    known(here, TEXTS[:10])
    here.ask(*TEXTS[:10], model=here.new)
    here.consume()
    assert coverage(late(here, times), here.old, here.new).covered == 10
    assert drift(late(here, times), here.old, here.new, 10).inputs == 10


def test_a_coverage_that_the_archive_stays_late_with_is_refused(here: TwoGenerations) -> None:
    known(here, TEXTS[:10])
    with pytest.raises(ArchiveUnavailable, match="did not come"):
        coverage(late(here, 100), here.old, here.new)


def test_coverage_is_weighed_by_traffic(here: TwoGenerations) -> None:
    known(here, TEXTS[:10])
    assert coverage(here.backends, here.old, here.new).share == 0
    here.ask("text 0", "bad", model=here.new)
    here.consume()
    assert coverage(here.backends, here.old, here.new).share == pytest.approx(0.1)
    for _ in range(8):
        here.lookup(["text 0"], model="words")
    here.lookup(["text 1", "text 2", "never seen"], model="words")
    wait_until(lambda: coverage(here.backends, here.old, here.new).uses == 10, 60, "it is counted")
    found = coverage(here.backends, here.old, here.new)
    assert (found.inputs, found.covered, found.covered_uses) == (10, 1, 8)
    assert found.share == pytest.approx(0.8)
    assert coverage(here.backends, here.old, here.old).share == 1


def test_drift_is_none_between_equal_vectors_and_large_between_others(
    here: TwoGenerations,
) -> None:
    known(here, TEXTS[:100])
    assert drift(here.backends, here.old, here.new, 50).inputs == 0
    here.ask(*TEXTS[:100], model=here.new)
    here.consume()
    # The made-up vectors depend on the input alone, so that both generations agree.
    same = drift(here.backends, here.old, here.new, 50)
    assert same.inputs == 50
    assert same.cosine_mean == pytest.approx(1, abs=1e-3)
    assert same.neighbours == pytest.approx(1)
    rng = np.random.default_rng(0)
    for text in TEXTS[:100]:
        here.put_vector_of(here.new, text, rng.normal(size=here.new.facts.dimension))
    other = drift(here.backends, here.old, here.new, 50)
    assert other.cosine_mean is not None
    assert abs(other.cosine_mean) < 0.5
    assert other.neighbours is not None
    assert other.neighbours < 0.6


def test_purging_removes_one_generation_and_goes_on_where_it_was(here: TwoGenerations) -> None:
    known(here, TEXTS)
    here.ask(*TEXTS[:5], model=here.new)
    here.consume()
    stop = threading.Event()
    told: list[int] = []

    def report(count: int) -> None:
        told.append(count)
        stop.set()

    store = here.store
    some = purge(store, "words", OLD, per_second=0, stop=stop, report=report)
    rest = purge(store, "words", OLD, per_second=0, stop=threading.Event(), report=told.append)
    assert some + rest == 450
    assert list(store.digests("words", OLD)) == []
    assert len(next(store.digests("words", NEW))) == 5
