"""L1: its index, its eviction, and that two rows never mix."""

from __future__ import annotations

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embark.archive import Archive
from embark.codec import encode_embedding
from embark.errors import ArchiveUnavailable
from embark.following import Following
from embark.forgotten import KEPT_SECONDS, note_forgotten
from embark.inputs import Modality
from embark.keys import Key
from embark.models import Model
from embark.settings import UsageSettings
from embark.store.ledger import Kind
from embark.store.lmdb import LmdbStore
from embark.store.lmdb_ledger import LmdbLedger
from embark.usage import Usage
from gateway.l1 import L1, packed
from gateway.l1.arena import row_bytes
from gateway.l1.eviction import S3Fifo
from gateway.l1.index import Index
from gateway.l1.prewarming import prewarm
from gateway.l1.upkeep import Upkeep
from tests.support.clock import Clock
from tests.support.models import DIMENSION, GENERATION, catalogue, facts
from tests.support.stack import wait_until
from tests.support.vectors import digest_of

WORDS = Model(facts("words"), np.full(DIMENSION, -1, np.float16))
OTHERS = Model(facts("others", dimension=16), np.full(16, -1, np.float16))
PICTURES = Model(facts("pictures", Modality.IMAGE, dtype="float32"), np.zeros(8, np.float32))
ROW = row_bytes(DIMENSION, "float16")
WIDE_ROW = row_bytes(384, "float16")


def wide(name: str, dimension: int = 384) -> Model:
    return Model(facts(name, dimension=dimension), np.zeros(dimension, np.float16))


def vector(number: int, version: int = 0, dimension: int = DIMENSION) -> npt.NDArray[np.float16]:
    """A vector that says of what it is: no row of two halves is one."""
    high, low = divmod(number, 1000)
    return np.array([high, low, version, *[high + low] * (dimension - 3)], np.float16)


def put(l1: L1, model: Model, numbers: Sequence[int], version: int = 0) -> None:
    dimension = model.facts.dimension
    vectors = np.stack([vector(one, version, dimension) for one in numbers])
    written = np.array([1000 * one + version for one in numbers], np.int64)
    l1.put_many(model, packed(map(digest_of, numbers)), vectors, written)


def held(l1: L1, model: Model, numbers: Sequence[int]) -> list[bool]:
    """Which of some numbers are held; every row is exactly its own, or the OOV vector."""
    found = l1.get_many(model, packed(map(digest_of, numbers)))
    for number, is_found, row, written in zip(
        numbers, found.found, found.vectors, found.written_ms, strict=True
    ):
        if is_found:
            version = int(row[2])
            assert np.array_equal(row, vector(number, version, model.facts.dimension))
            assert written == 1000 * number + version
        else:
            assert np.array_equal(row, model.oov)
    answer: list[bool] = found.found.tolist()
    return answer


NUMBERS = st.lists(st.integers(0, 60), min_size=1, max_size=40)
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "get", "forget"]), NUMBERS), min_size=1, max_size=40
)


@given(STEPS, st.integers(16, 80))
@settings(max_examples=150)
def test_it_holds_what_was_put_last_and_nothing_else(
    steps: list[tuple[str, list[int]]], rows: int
) -> None:
    clock = Clock()
    l1 = L1(rows * ROW, clock=clock)
    latest: dict[int, int] = {}
    for version, (what, numbers) in enumerate(steps):
        if what == "put":
            put(l1, WORDS, numbers, version)
            latest |= dict.fromkeys(numbers, version)
        elif what == "forget":
            l1.forget("words", WORDS.generation, [digest_of(one) for one in numbers], 0)
            latest = {one: it for one, it in latest.items() if one not in numbers}
        asked = [*numbers, *range(61)]
        found = l1.get_many(WORDS, packed(map(digest_of, asked)))
        for number, is_found, row in zip(asked, found.found, found.vectors, strict=True):
            if is_found:
                assert np.array_equal(row, vector(number, latest[number]))
        if rows > 61:
            assert {one for one in range(61) if found.found[asked.index(one)]} == set(latest)
        assert l1.used_bytes <= rows * ROW


@given(st.data())
@settings(max_examples=100)
def test_the_index_is_a_dict(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    # Few different halves, so that buckets and tags collide.
    words = rng.integers(0, 2, (60, 2), np.uint64) << np.uint64(32)
    words |= rng.integers(0, 2, (60, 2), np.uint64)
    words = np.unique(words, axis=0)
    column = np.zeros((200, 2), np.uint64)
    index = Index(column)
    there: dict[tuple[int, int], int] = {}
    free = list(range(200))
    for _ in range(20):
        some = words[rng.permutation(len(words))[: rng.integers(1, len(words) + 1)]]
        if data.draw(st.booleans()):
            new = np.array([one for one in some if (*one.tolist(),) not in there], np.uint64)
            rows = np.array([free.pop() for _ in range(len(new))], np.intp)
            column[rows] = new.reshape(-1, 2)
            has_room = index.add(new.reshape(-1, 2), rows)
            for word, row, has in zip(new, rows, has_room, strict=True):
                if has:
                    there[(*word.tolist(),)] = int(row)
                else:
                    free.append(int(row))
        elif there:
            gone = [(*one.tolist(),) for one in some if (*one.tolist(),) in there]
            index.drop(np.array([there[one] for one in gone], np.intp))
            free += [there.pop(one) for one in gone]
        rows, found = index.find(words)
        for word, row, is_found in zip(words, rows, found, strict=True):
            assert there.get((*word.tolist(),)) == (int(row) if is_found else None)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 20)), max_size=60), st.integers(0, 99))
def test_eviction_gives_up_each_row_once(steps: list[tuple[int, int]], seed: int) -> None:
    rng = random.Random(seed)
    digests = np.random.default_rng(seed).integers(0, 2**63, (50, 2), np.uint64)
    order = S3Fifo(50)
    inside: set[int] = set()
    for what, count in steps:
        some = np.array(sorted(inside), np.intp)
        if what == 0:
            new = rng.sample(sorted(set(range(50)) - inside), min(count, 50 - len(inside)))
            order.enter(np.array(new, np.intp), digests[np.array(new, np.intp)])
            inside |= set(new)
        elif what == 1 and len(some):
            order.use(np.array(rng.choices(some.tolist(), k=count), np.intp))
        else:
            gone = order.evict(min(count, len(inside)), digests).tolist()
            assert len(set(gone)) == len(gone) == min(count, len(inside))
            assert inside >= set(gone)
            inside -= set(gone)
        assert len(order) == len(inside)


def test_what_is_asked_again_and_again_outlives_a_scan() -> None:
    l1 = L1(1000 * ROW)
    hot = list(range(100))
    put(l1, WORDS, hot)
    for _ in range(3):
        assert all(held(l1, WORDS, hot))
    for start in range(1000, 20_000, 50):
        put(l1, WORDS, range(start, start + 50))
    assert all(held(l1, WORDS, hot))


def test_nothing_is_kept_without_memory() -> None:
    l1 = L1(0)
    put(l1, WORDS, [1])
    assert held(l1, WORDS, [1]) == [False]


def test_a_generation_that_is_asked_more_takes_room_from_one_that_is_not() -> None:
    some, more = wide("some"), wide("more")
    l1 = L1(2000 * WIDE_ROW)
    put(l1, some, range(1500))
    assert sum(held(l1, some, range(1500))) == 1500
    for start in range(0, 2000, 100):
        put(l1, more, range(start, start + 100))
        held(l1, more, range(start, start + 2000))
    assert sum(held(l1, more, range(2000))) > 500
    assert sum(held(l1, some, range(1500))) < 1000
    assert l1.used_bytes <= 2000 * WIDE_ROW


@pytest.mark.parametrize("dimension", [64, 384])
def test_the_budget_bounds_what_many_generations_take(dimension: int) -> None:
    l1 = L1(2000 * row_bytes(dimension, "float16"))
    models = [wide(f"m{number}", dimension) for number in range(5)]
    for start in range(0, 1000, 500):
        for model in models:
            l1.get_many(model, packed(map(digest_of, range(500))))
            put(l1, model, range(start, start + 500))
            assert l1.used_bytes <= l1.max_bytes
    taken = 0
    for arena in l1._arenas.values():
        beside = [*vars(arena).values(), *vars(arena._index).values(), *vars(arena._order).values()]
        beside += [arena._order._small._rows, arena._order._main._rows]
        owned = [one for one in beside if isinstance(one, np.ndarray) and one.base is None]
        taken += sum({id(one): one.nbytes for one in owned}.values())
        taken += arena.capacity * arena.vector_bytes
    # A bucket of each index, and a byte of each row, are lost to rounding.
    assert taken <= l1.max_bytes * 1.01


def test_a_generation_that_is_asked_less_keeps_what_it_needs() -> None:
    much, little = wide("much"), wide("little")
    l1, fresh = L1(4 * 2**20), iter(range(10_000, 10**6))
    found: list[bool] = []
    for number in range(40):
        # A quarter are hits: as much memory as there is would not be enough.
        numbers = [*range(250), *(next(fresh) for _ in range(750))]
        rounds = [(much, numbers), (little, [*range(200)])]
        for model, asked in rounds if number > 10 else rounds[:1]:
            here = l1.get_many(model, packed(map(digest_of, asked))).found
            missing = [one for one, is_here in zip(asked, here, strict=True) if not is_here]
            if missing:
                put(l1, model, missing)
            if model is little:
                found += here.tolist()
    assert all(found[-10 * 200 :])
    assert l1.used_bytes <= l1.max_bytes


def test_a_generation_that_is_not_served_is_dropped() -> None:
    l1 = L1(2**20)
    put(l1, WORDS, [1])
    put(l1, OTHERS, [1])
    l1.keep_only({("others", OTHERS.generation)})
    assert held(l1, WORDS, [1]) == [False]
    assert held(l1, OTHERS, [1]) == [True]


@pytest.mark.parametrize("digests", [[digest_of(1)], None])
def test_of_what_is_forgotten_only_what_was_written_later_enters(
    digests: list[bytes] | None,
) -> None:
    clock = Clock()
    l1 = L1(2**20, clock=clock)
    put(l1, WORDS, [1, 2])
    l1.forget("words", WORDS.generation, digests, noted_ms=1001)
    # Read before the record went, or from a replica that lags behind by minutes.
    for _ in range(2):
        put(l1, WORDS, [1], version=1)
        assert held(l1, WORDS, [1, 2]) == [False, digests is not None]
        clock.now += KEPT_SECONDS - 2
        l1.forget("words", WORDS.generation, digests, noted_ms=1)  # an earlier one does not unbar
    put(l1, WORDS, [1], version=2)
    assert held(l1, WORDS, [1]) == [True]
    l1.forget("words", WORDS.generation, digests, noted_ms=1001)
    clock.now += KEPT_SECONDS
    l1.keep_only({("words", WORDS.generation)})
    put(l1, WORDS, [1])
    assert held(l1, WORDS, [1]) == [True]


def test_too_many_bars_stand_for_the_generation() -> None:
    l1 = L1(2**20)
    digests = [digest_of(number) for number in range(60_000)]
    l1.forget("words", WORDS.generation, digests, noted_ms=2**40)
    l1.forget("words", WORDS.generation, [digest_of(80_000 + one) for one in range(60_000)], 5)
    put(l1, WORDS, [1, 70_000])
    assert held(l1, WORDS, [1, 70_000]) == [False, False]


def test_many_bars_do_not_slow_what_enters() -> None:
    clock = Clock()
    l1 = L1(2**20, clock=clock)
    digests = [digest_of(number) for number in range(50_000)]
    l1.forget("words", WORDS.generation, digests, noted_ms=2**40)
    (bars,) = l1._bars.values()
    looked_at = 0

    class Counting(OrderedDict[bytes | None, Any]):
        def get(self, *args: Any) -> object:
            nonlocal looked_at
            looked_at += 1
            return super().get(*args)

        def _refuse(self) -> NoReturn:
            raise AssertionError("all bars were gone through")

        __iter__ = items = values = keys = _refuse

    vars(bars)["_bars"] = Counting(bars._bars)
    put(l1, WORDS, [1, 60_000])
    assert held(l1, WORDS, [1, 60_000]) == [False, True]
    assert looked_at == 3


def test_images_are_read_anew_when_they_may_change() -> None:
    clock = Clock()
    l1, steady = (L1(2**20, images_change=change, clock=clock) for change in (True, False))
    for one in (l1, steady):
        put(one, PICTURES, [1])
        put(one, WORDS, [1])
    clock.now += 15
    assert held(l1, PICTURES, [1]) == [False]
    assert l1.get_many(PICTURES, packed([digest_of(1)]), of_any_age=True).found.all()
    assert held(l1, WORDS, [1]) == held(steady, PICTURES, [1]) == [True]
    put(l1, PICTURES, [1], version=1)
    assert held(l1, PICTURES, [1]) == [True]


def test_many_threads_never_see_another_keys_vector() -> None:
    l1 = L1(400 * ROW)
    failures: list[BaseException] = []
    ended = threading.Event()

    def work(seed: int) -> None:
        rng = random.Random(seed)
        try:
            for round_ in range(150):
                model = rng.choice((WORDS, OTHERS))
                numbers = rng.choices(range(1000), k=rng.choice((1, 20, 100)))
                put(l1, model, numbers, version=round_ % 7)
                held(l1, model, rng.choices(range(1000), k=100))
                if round_ % 10 == 0:
                    l1.forget(model.name, model.generation, [digest_of(rng.randrange(1000))], 0)
                if round_ % 50 == 49:
                    l1.keep_only({(WORDS.name, WORDS.generation)})
        except BaseException as error:
            failures.append(error)
            ended.set()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures and not ended.is_set()


def test_without_memory_for_it_lookups_go_on() -> None:
    l1 = L1(2**60)
    put(l1, WORDS, [1])
    assert held(l1, WORDS, [1]) == [False]


class Unsteady(LmdbLedger):
    """The real ledger, which cannot be read for a while."""

    is_away = True

    def ids_ending(self, model: str, kind: Kind, ending: bytes) -> list[bytes]:
        if self.is_away:
            raise ArchiveUnavailable("away")
        return super().ids_ending(model, kind, ending)


def test_what_was_held_while_invalidations_could_not_be_read_is_dropped(tmp_path: Path) -> None:
    models = catalogue(tmp_path / "models")
    store, l1 = LmdbStore(tmp_path / "archive", 2**26), L1(2**20)
    ledger = Unsteady(store)
    following = Following(tmp_path / "models", ledger, 0.05)
    upkeep = Upkeep(l1, Archive(store), ledger, following, every_s=0.05, prewarm_s=0)
    try:
        put(l1, models["words"], [1])
        note_forgotten(ledger, "words", GENERATION, [digest_of(1)])
        assert held(l1, models["words"], [1]) == [True]
        ledger.is_away = False
        wait_until(lambda: held(l1, models["words"], [1]) == [False], 60, "dropped")
    finally:
        upkeep.close()
        following.close()
        store.close()


def test_what_was_noted_before_the_start_does_not_enter(tmp_path: Path) -> None:
    models = catalogue(tmp_path / "models")
    store, l1 = LmdbStore(tmp_path / "archive", 2**26), L1(2**20)
    ledger = LmdbLedger(store)
    note_forgotten(ledger, "words", GENERATION, [digest_of(1)])
    following = Following(tmp_path / "models", ledger, 0.05)
    upkeep = Upkeep(l1, Archive(store), ledger, following, every_s=60, prewarm_s=0)
    try:
        # A lookup that had read the archive before the record went.
        put(l1, models["words"], [1, 2])
        assert held(l1, models["words"], [1, 2]) == [False, True]
    finally:
        upkeep.close()
        following.close()
        store.close()


class HalfRead(LmdbLedger):
    """The real ledger, in which one model's notes cannot be read."""

    def ids_ending(self, model: str, kind: Kind, ending: bytes) -> list[bytes]:
        if model == "pictures":
            raise ArchiveUnavailable("away")
        return super().ids_ending(model, kind, ending)


def test_one_model_that_cannot_be_followed_does_not_stop_the_others(tmp_path: Path) -> None:
    models = catalogue(tmp_path / "models")
    assert next(iter(models)) == "pictures"  # it is looked at first
    store, l1 = LmdbStore(tmp_path / "archive", 2**26), L1(2**20)
    ledger = HalfRead(store)
    following = Following(tmp_path / "models", ledger, 0.05)
    upkeep = Upkeep(l1, Archive(store), ledger, following, every_s=0.05, prewarm_s=0)
    try:
        put(l1, models["words"], [1])
        note_forgotten(ledger, "words", GENERATION, [digest_of(1)])
        wait_until(lambda: held(l1, models["words"], [1]) == [False], 60, "dropped")
    finally:
        upkeep.close()
        following.close()
        store.close()


def test_warming_up_stops_between_pages_of_uses(tmp_path: Path) -> None:
    store, stop = LmdbStore(tmp_path / "archive", 2**26), threading.Event()
    pages = 0

    class Endless(LmdbLedger):
        def ids(self, model: str, kind: Kind) -> Iterator[list[bytes]]:
            nonlocal pages
            while pages < 1000:
                pages += 1
                if pages == 3:
                    stop.set()
                yield [bytes(16)]

    models = catalogue(tmp_path / "models")
    prewarm(L1(2**20), Archive(store), Endless(store), models, seconds=60, stop=stop)
    # One page more of each model.
    assert pages <= 4
    store.close()


def test_a_model_that_takes_long_leaves_the_others_time_to_warm_up(tmp_path: Path) -> None:
    class Slow(LmdbLedger):
        def ids(self, model: str, kind: Kind) -> Iterator[list[bytes]]:
            while model == "pictures":
                time.sleep(0.001)
                yield []
            yield from super().ids(model, kind)

    models = catalogue(tmp_path / "models")
    assert list(models) == ["pictures", "words"]
    store, key = LmdbStore(tmp_path / "archive", 2**26), Key("words", GENERATION, digest_of(1))
    archive, ledger, l1 = Archive(store), Slow(store), L1(2**20)
    record = encode_embedding(key, vector(1), "float16", 1000)
    archive.put_many(models["words"], {key.digest: record})
    usage = Usage(ledger, UsageSettings())
    usage.count([key])
    usage.close()
    prewarm(l1, archive, ledger, models, seconds=6, stop=threading.Event())
    found = l1.get_many(models["words"], packed([key.digest]))
    assert found.found.tolist() == [True]
    store.close()


def test_a_million_rows_take_little_more_than_their_vectors() -> None:
    assert row_bytes(384, "float16") <= 1.1 * 384 * 2
