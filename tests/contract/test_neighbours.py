"""What every index of neighbours promises; see `embark.neighbours.base`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from embark.archive import Archive, now_ms
from embark.codec import Failure, encode_embedding, encode_failure
from embark.config import load
from embark.errors import Unavailable
from embark.keys import Key
from embark.models import Model
from embark.neighbours.base import Matrix, Near, Neighbours
from embark.neighbours.embedded import EmbeddedNeighbours
from embark.neighbours.exact import exact_nearest
from embark.neighbours.rebuilding import rebuild
from embark.settings import Settings
from embark.store.base import Store
from embark.store.cassandra import CassandraNeighbours, CassandraStore, NeighbourTables
from embark.store.cassandra.schema import apply
from embark.store.lmdb import LmdbStore
from tests.contract.conftest import ON_SERVERS
from tests.support.cluster import connected
from tests.support.models import facts
from tests.support.vectors import clustered, digest_of

DIMENSION = 24
G1, G2 = "0" * 16, "1" * 16
TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Bench:
    """One implementation over one archive, with two generations of one model."""

    store: Store
    neighbours: Neighbours
    one: Model
    other: Model

    def put(self, numbers: Sequence[int], vectors: Matrix, model: Model | None = None) -> None:
        model = model or self.one
        records = {
            digest_of(number): encode_embedding(
                Key(model.name, model.generation, digest_of(number)), vector, "float16", now_ms()
            )
            for number, vector in zip(numbers, vectors, strict=True)
        }
        self.store.put_many(model.name, model.generation, records)

    def nearest(self, queries: Matrix, k: int, model: Model | None = None) -> list[list[Near]]:
        return self.neighbours.nearest(model or self.one, queries, k, TIMEOUT_S)

    def exactly(self, queries: Matrix, k: int) -> list[list[Near]]:
        return exact_nearest(Archive(self.store), self.one, queries, k, TIMEOUT_S)


@pytest.fixture(params=["lmdb", pytest.param("cassandra", marks=ON_SERVERS)])
def bench(request: pytest.FixtureRequest, tmp_path: Path, model: str) -> Iterator[Bench]:
    one, other = (
        Model(
            facts(model, generation=generation, dimension=DIMENSION),
            np.zeros(DIMENSION, np.float16),
        )
        for generation in (G1, G2)
    )
    if request.param == "lmdb":
        embedded = LmdbStore(tmp_path / "archive", 64 * 2**20)
        made = Bench(embedded, EmbeddedNeighbours(embedded, lambda: [one, other]), one, other)
    else:
        settings = request.getfixturevalue("shared").archive.cassandra
        assert len(list(apply(settings, [one.facts, other.facts]))) == 2
        assert list(apply(settings, [one.facts, other.facts])) == []
        connection = connected(settings)
        tables = NeighbourTables(connection, lambda name: True)
        store = CassandraStore(connection, tables)
        made = Bench(store, CassandraNeighbours(store, tables), one, other)
    yield made
    made.neighbours.close()
    made.store.close()


def test_what_is_written_is_found_with_its_exact_cosine(bench: Bench) -> None:
    vectors = clustered(300, DIMENSION, seed=1)
    bench.put(range(300), vectors)
    queries = clustered(20, DIMENSION, seed=2)
    expected, found = bench.exactly(queries, 10), bench.nearest(queries, 10)
    for right, near in zip(expected, found, strict=True):
        assert len(near) == 10
        cosines = {one.digest: one.cosine for one in right}
        assert sum(one.digest in cosines for one in near) >= 9
        assert [one.cosine for one in near] == sorted((one.cosine for one in near), reverse=True)
        for one in near:
            if one.digest in cosines:
                assert one.cosine == pytest.approx(cosines[one.digest], abs=1e-6)


def test_a_record_is_its_own_nearest_whatever_its_length(bench: Bench) -> None:
    vectors = clustered(50, DIMENSION, seed=3)
    lengths = np.linspace(0.01, 100, 50, dtype=np.float32)[:, None]
    bench.put(range(50), vectors * lengths)
    found = bench.nearest(3 * vectors[:5], 1)
    assert [near[0].digest for near in found] == [digest_of(number) for number in range(5)]
    assert [near[0].cosine for near in found] == pytest.approx([1] * 5, abs=1e-3)


def test_fewer_records_than_asked_and_none_at_all(bench: Bench) -> None:
    query = clustered(1, DIMENSION, seed=4)
    assert bench.nearest(query, 10) == [[]]
    bench.put([1, 2], clustered(2, DIMENSION, seed=5))
    assert {one.digest for one in bench.nearest(query, 10)[0]} == {digest_of(1), digest_of(2)}


def test_what_is_forgotten_or_failed_is_not_near(bench: Bench) -> None:
    vectors = clustered(40, DIMENSION, seed=6)
    bench.put(range(40), vectors)
    bench.store.delete_many(bench.one.name, G1, [digest_of(0), digest_of(1)])
    key = Key(bench.one.name, G1, digest_of(2))
    failure = encode_failure(key, Failure("gone", "it is gone", now_ms(), now_ms() + 60_000))
    bench.store.put_many(bench.one.name, G1, {key.digest: failure})
    found = {one.digest for near in bench.nearest(vectors[:3], 20) for one in near}
    assert found and not found & {digest_of(0), digest_of(1), digest_of(2)}


def test_a_vector_that_is_replaced_is_found_where_it_is_now(bench: Bench) -> None:
    vectors = clustered(60, DIMENSION, seed=7)
    bench.put(range(60), vectors)
    bench.put([5], -vectors[5:6])
    assert bench.nearest(-vectors[5:6], 1)[0][0].digest == digest_of(5)
    assert digest_of(5) not in {one.digest for one in bench.nearest(vectors[5:6], 20)[0]}


def test_generations_are_apart(bench: Bench) -> None:
    vectors = clustered(20, DIMENSION, seed=8)
    bench.put(range(10), vectors[:10])
    bench.put(range(10, 20), vectors[10:], bench.other)
    assert {one.digest for one in bench.nearest(vectors[:1], 20)[0]} == {
        digest_of(number) for number in range(10)
    }
    assert bench.nearest(vectors[12:13], 1, bench.other)[0][0].digest == digest_of(12)


def test_a_vector_without_a_direction_is_near_nothing(bench: Bench) -> None:
    zero = np.zeros((1, DIMENSION), np.float32)
    vectors = clustered(5, DIMENSION, seed=9)
    bench.put(range(5), vectors)
    bench.put([9], zero)
    found = bench.nearest(np.concatenate([zero, vectors[:1]]), 10)
    assert found[0] == []
    assert {one.digest for one in found[1]} == {digest_of(number) for number in range(5)}
    assert bench.exactly(zero, 10) == [[]]


def test_writing_again_changes_nothing(bench: Bench) -> None:
    vectors = clustered(30, DIMENSION, seed=10)
    for _ in range(3):
        bench.put(range(30), vectors)
    near = bench.nearest(vectors[:1], 30)[0]
    assert len(near) == len({one.digest for one in near}) == 30


def test_many_threads_write_and_search(bench: Bench) -> None:
    vectors = clustered(400, DIMENSION, seed=11)

    def work(thread: int) -> None:
        for first in range(thread * 100, thread * 100 + 100, 20):
            bench.put(range(first, first + 20), vectors[first : first + 20])
            found = bench.nearest(vectors[first : first + 2], 3)
            assert [near[0].digest for near in found] == [digest_of(first), digest_of(first + 1)]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_an_index_is_rebuilt_from_what_the_archive_holds(bench: Bench) -> None:
    vectors = clustered(30, DIMENSION, seed=12)
    bench.put(range(30), vectors)
    seen: list[int] = []
    backend = "lmdb" if isinstance(bench.store, LmdbStore) else "cassandra"
    settings = load(environment={}, overrides={"archive.backend": backend}).settings
    assert rebuild(bench.store, settings, bench.one, seen.append) == 30
    assert seen[-1] == 30
    found = bench.nearest(vectors[:10], 1)
    assert [near[0].digest for near in found] == [digest_of(number) for number in range(10)]


@ON_SERVERS
def test_without_its_table_vectors_are_archived_and_searches_say_what_to_do(
    shared: Settings, model: str
) -> None:
    one = Model(facts(model, dimension=DIMENSION), np.zeros(DIMENSION, np.float16))
    connection = connected(shared.archive.cassandra)
    store = CassandraStore(connection, NeighbourTables(connection, lambda name: True))
    assert store.neighbours is not None
    without = Bench(store, CassandraNeighbours(store, store.neighbours), one, one)
    vectors = clustered(5, DIMENSION, seed=13)
    without.put(range(5), vectors)
    assert len(without.exactly(vectors[:1], 5)[0]) == 5
    for call in (
        lambda: without.nearest(vectors, 1),
        lambda: rebuild(store, shared, one, lambda seen: None),
    ):
        with pytest.raises(Unavailable, match="embark schema apply") as error:
            call()
        assert error.value.code == "neighbours_table_missing"
    assert len(list(apply(shared.archive.cassandra, [one.facts]))) == 1
    again = NeighbourTables(connection, lambda name: True)  # another process
    filled = CassandraStore(connection, again)
    assert rebuild(filled, shared, one, lambda seen: None) == 5
    found = CassandraNeighbours(filled, again).nearest(one, vectors[:1], 1, TIMEOUT_S)
    assert found[0][0].digest == digest_of(0)
    store.close()
