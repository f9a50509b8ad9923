"""The embedded index: what is made when, and what survives. Real files and real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from embark.archive import Archive, now_ms
from embark.codec import encode_embedding
from embark.errors import Unavailable
from embark.keys import Key
from embark.models import Model
from embark.neighbours.base import Matrix
from embark.neighbours.building import Order, build, locked
from embark.neighbours.embedded import EmbeddedNeighbours
from embark.neighbours.exact import exact_nearest
from embark.neighbours.rebuilding import FOLDER
from embark.neighbours.snapshot import Facts, newest_facts
from embark.store import lmdb_journal
from embark.store.lmdb import LmdbStore, space
from tests.support.models import DIMENSION, GENERATION, facts
from tests.support.stack import wait_until
from tests.support.vectors import clustered, digest_of

MANY = 2500
MODEL = Model(facts("words"), np.zeros(DIMENSION, np.float16))
VECTORS = clustered(MANY + 500, DIMENSION, seed=1)
SPACE = space("words", GENERATION)
BYTES = 64 * 2**20

# A consumer: writes record after record, and says the number of each that is acknowledged.
WRITER = """
import sys
from pathlib import Path
from embark.store.lmdb import LmdbStore
from tests.integration.test_neighbours_embedded import BYTES, records
store = LmdbStore(Path(sys.argv[1]), BYTES)
for number in range(int(sys.argv[2]), 3000, 2):
    store.put_many("words", "0123456789abcdef", records([number]))
    print(number, flush=True)
"""


def records(numbers: Sequence[int], vectors: Matrix = VECTORS) -> dict[bytes, bytes]:
    return {
        digest_of(number): encode_embedding(
            Key("words", GENERATION, digest_of(number)), vectors[number], "float16", now_ms()
        )
        for number in numbers
    }


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    opened = LmdbStore(tmp_path / "archive", BYTES)
    yield opened
    opened.close()


@contextmanager
def searching(store: LmdbStore, *, builds: bool = True) -> Iterator[EmbeddedNeighbours]:
    opened = EmbeddedNeighbours(store, lambda: [MODEL], builds=builds)
    try:
        yield opened
    finally:
        opened.close()


def folder(store: LmdbStore) -> Path:
    return store.folder / FOLDER / "words" / GENERATION


def put(store: LmdbStore, numbers: Sequence[int]) -> None:
    store.put_many("words", GENERATION, records(numbers))


def made(store: LmdbStore) -> Facts | None:
    with store.transaction() as txn:
        head = lmdb_journal.head(txn, store.journal, SPACE)
    return None if head is None else newest_facts(folder(store), head)


def entries(store: LmdbStore) -> int:
    with store.transaction() as txn:
        return int(txn.stat(store.journal)["entries"])


def recall(store: LmdbStore, index: EmbeddedNeighbours) -> float:
    """Return which share of the 10 nearest of 50 queries is found."""
    queries = clustered(50, DIMENSION, seed=2)
    right = exact_nearest(Archive(store), MODEL, queries, 10, 20)
    found = index.nearest(MODEL, queries, 10, 20)
    shares = [
        len({one.digest for one in near} & {one.digest for one in some}) / len(some)
        for near, some in zip(found, right, strict=True)
    ]
    return float(np.mean(shares))


def test_a_long_tail_is_folded_into_a_snapshot_that_outlives_the_process(store: LmdbStore) -> None:
    put(store, range(MANY))
    with searching(store) as index:
        assert recall(store, index) == 1
        wait_until(lambda: made(store), 60, "a snapshot is made")
        wait_until(lambda: index._space(MODEL).extent.items == MANY, 60, "it is adopted")
        put(store, range(MANY, MANY + 500))
        assert recall(store, index) > 0.98
        extent = index._space(MODEL).extent
        assert (extent.items, extent.tail, extent.behind) == (MANY, 500, 0)
    with searching(store, builds=False) as index:
        assert recall(store, index) > 0.98
        assert index._space(MODEL).extent.items == MANY


def test_each_snapshot_continues_the_last_one_and_trims_the_journal(store: LmdbStore) -> None:
    for first in range(0, MANY, 100):
        put(store, range(first, first + 100))
        if first % 500 == 0:
            last = build(store, folder(store), MODEL)
    assert last is not None and (last.items, last.removed) == (2100, 0)
    assert entries(store) < 12
    assert len([path for path in folder(store).iterdir() if path.is_dir()]) == 1
    store.delete_many("words", GENERATION, [digest_of(number) for number in range(100)])
    turned = -VECTORS
    store.put_many("words", GENERATION, records(range(100, 150), turned))
    put(store, range(200, 300))
    last = build(store, folder(store), MODEL)
    assert last is not None and (last.items, last.removed) == (MANY - 100, 150)
    with searching(store, builds=False) as index:
        assert recall(store, index) > 0.98
        assert index.nearest(MODEL, turned[120:121], 1, 5)[0][0].digest == digest_of(120)


def test_a_graph_that_lost_many_is_made_from_nothing(store: LmdbStore) -> None:
    put(store, range(1000))
    build(store, folder(store), MODEL)
    store.delete_many("words", GENERATION, [digest_of(number) for number in range(400)])
    assert build(store, folder(store), MODEL).removed == 400  # type: ignore[union-attr]
    after = build(store, folder(store), MODEL)
    assert after is not None and (after.items, after.removed) == (600, 0)


def _cut(graph: Path) -> None:
    graph.write_bytes(graph.read_bytes()[: graph.stat().st_size // 2])


def _flip(graph: Path) -> None:
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)


def _spoil_facts(graph: Path) -> None:
    (graph.parent / "facts.json").write_text("{", "utf-8")


@pytest.mark.parametrize("damage", [_cut, _flip, Path.unlink, _spoil_facts])
def test_a_damaged_snapshot_is_not_used_and_made_again(
    store: LmdbStore, damage: Callable[[Path], None]
) -> None:
    put(store, range(300))
    build(store, folder(store), MODEL)
    put(store, range(300, 600))
    build(store, folder(store), MODEL)
    (graph,) = folder(store).glob("*/graph.usearch")
    damage(graph)
    with searching(store) as index:
        assert recall(store, index) == 1
        wait_until(lambda: index._space(MODEL).extent.items == 600, 60, "it is made again")
        assert recall(store, index) > 0.98


def test_an_archive_older_than_the_journal_is_read_whole(store: LmdbStore) -> None:
    put(store, range(800))
    with store.transaction(write=True) as txn:
        lmdb_journal.end(txn, store.journal, SPACE)
    with searching(store) as index:
        assert recall(store, index) == 1
        put(store, range(800, 900))
        wait_until(lambda: index._space(MODEL).extent.items >= 800, 60, "an index is made")
        assert recall(store, index) > 0.98


def test_what_was_written_while_it_was_off_is_found_later(tmp_path: Path) -> None:
    for kept in (True, False, True):
        store = LmdbStore(tmp_path / "archive", BYTES, lambda name, kept=kept: kept)  # type: ignore[misc]
        first = {True: 0, False: 500}[kept]
        put(store, range(first, first + 500))
        if kept:
            build(store, folder(store), MODEL)
            with searching(store, builds=False) as index:
                assert recall(store, index) > 0.98
        store.close()


def test_an_archive_put_back_to_an_older_state_is_not_asked_with_a_newer_index(
    store: LmdbStore,
) -> None:
    put(store, range(300))
    old = (store.folder / "data.mdb").read_bytes()
    put(store, range(300, 600))
    build(store, folder(store), MODEL)
    store.close()
    (store.folder / "data.mdb").write_bytes(old)
    again = LmdbStore(store.folder, BYTES)
    with searching(again) as index:
        found = index.nearest(MODEL, VECTORS[400:401], 300, 10)[0]
        assert len(found) == 300
        for first in (600, 700, 800):  # the journal goes on to where the snapshot was
            put(again, range(first, first + 100))
        wait_until(lambda: index._space(MODEL).extent.items >= 300, 60, "it is made anew")
        assert recall(again, index) > 0.98
        assert index.nearest(MODEL, VECTORS[650:651], 1, 10)[0][0].digest == digest_of(650)
    again.close()


def test_an_index_too_large_to_compare_is_announced_while_it_is_made(store: LmdbStore) -> None:
    put(store, range(MANY))
    with store.transaction(write=True) as txn:
        lmdb_journal.end(txn, store.journal, SPACE)
    with searching(store, builds=False) as index, pytest.raises(Unavailable) as error:
        index.nearest(MODEL, VECTORS[:1], 3, 0)
    assert error.value.code == "neighbours_in_the_making"


def test_a_generation_that_is_served_no_more_leaves_nothing(store: LmdbStore) -> None:
    store.put_many("words", "2" * 16, {digest_of(1): b"of a generation that was retired"})
    put(store, range(10))
    served = [MODEL, Model(facts("words", generation="1" * 16), MODEL.oov)]
    index = EmbeddedNeighbours(store, lambda: served)
    build(store, folder(store), MODEL)
    wait_until(lambda: index._space(MODEL).extent.items == 10, 60, "it is adopted")
    served.pop(0)
    wait_until(lambda: not folder(store).exists(), 60, "its files are gone")
    with store.transaction() as txn:
        kept = lmdb_journal.spaces(txn, store.journal)
    assert space("words", "2" * 16) not in kept
    index.close()


def test_one_process_at_a_time_makes_a_snapshot(store: LmdbStore) -> None:
    put(store, range(10))
    with locked(folder(store)) as mine:
        assert mine
        assert build(store, folder(store), MODEL) is None


def test_writers_and_a_maker_that_are_killed_lose_nothing(store: LmdbStore) -> None:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    acknowledged: set[int] = set()
    put(store, range(0))
    for turn in range(2):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(store.folder), str(1000 * turn + odd)],
                stdout=subprocess.PIPE,
                env=environment,
            )
            for odd in (0, 1)
        ]
        for writer in writers:
            assert writer.stdout is not None
            acknowledged |= {int(writer.stdout.readline()) for _ in range(60)}
        maker = subprocess.Popen(
            [sys.executable, "-m", "embark.neighbours.building"],
            stdin=subprocess.PIPE,
            env=environment,
        )
        order = Order(
            archive=store.folder, max_bytes=BYTES, folder=folder(store), model=MODEL.facts
        )
        assert maker.stdin is not None
        with maker.stdin as pipe:
            pipe.write(order.model_dump_json().encode())
        if turn == 0:
            wait_until(lambda: any(folder(store).glob(".*-*")) or made(store), 60, "it writes")
        else:
            assert maker.wait(30) == 0
        for process in (*writers, maker):
            process.send_signal(signal.SIGKILL)
        for writer in writers:
            acknowledged |= {int(line) for line in writer.communicate()[0].splitlines()}
        maker.wait()
        with searching(store, builds=False) as index:
            found = index.nearest(MODEL, VECTORS[:1], 3000, 20)[0]
            assert {digest_of(number) for number in acknowledged} <= {one.digest for one in found}
