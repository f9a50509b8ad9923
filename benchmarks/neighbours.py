"""Recall and latency of nearest neighbours, on both profiles, and libraries side by side.

`python -m benchmarks.neighbours embedded --sizes 10000 100000 1000000`: fills an archive, has the
index made, and compares what it finds with an exact search of the same archive. `cassandra` does so
on a node of its own. `libraries` times what is installed of usearch, hnswlib and faiss. Vectors are
drawn: 384 numbers of 24 hidden ones in 2,000 clusters, and noise; `--minilm` takes real ones, of
10,000 composed texts. Queries are drawn like the vectors and are not among them. Prints a table and
writes JSON. Figures of one run compare with each other, not with those of another machine.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.drawn import GENERATION, drawn_facts
from embark.archive import Archive, now_ms
from embark.codec import encode_embedding
from embark.errors import ArchiveUnavailable
from embark.inputs import text_input
from embark.keys import Key, digest
from embark.models import FACTS_FILE, Model
from embark.neighbours.base import Near, Neighbours
from embark.neighbours.exact import exact_nearest
from embark.store.base import Store

DIMENSION = 384
K = 10
QUERIES = 200
PAGE = 1000
HOUR = 3600.0

Vectors = npt.NDArray[np.float32]
console = Console(highlight=False)


def drawn(count: int, seed: int) -> Iterator[Vectors]:
    """Yield float32 of shape (up to PAGE, DIMENSION), `count` rows in all."""
    fixed = np.random.default_rng(0)
    basis = fixed.normal(size=(24, DIMENSION)).astype(np.float32)
    centres = fixed.normal(size=(2000, 24)).astype(np.float32)
    rng = np.random.default_rng(seed)
    for first in range(0, count, PAGE):
        rows = min(PAGE, count - first)
        hidden = centres[rng.integers(0, len(centres), rows)]
        hidden = hidden + 0.5 * rng.normal(size=hidden.shape).astype(np.float32)
        noise = rng.normal(size=(rows, DIMENSION)).astype(np.float32)
        vectors = hidden @ basis + 0.5 * noise
        yield vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def texts() -> list[str]:
    """Return texts as a shop has them, composed of words."""
    words = (
        ("red", "blue", "green", "black", "white", "grey", "brown", "pink", "yellow", "beige"),
        ("cotton", "leather", "wool", "steel", "wooden", "plastic", "linen", "glass", "denim"),
        ("shirt", "lamp", "table", "jacket", "bottle", "backpack", "chair", "watch", "sofa",
         "kettle", "bicycle", "guitar", "tent", "mirror", "carpet"),
        ("for men", "for women", "for children", "for the garden", "for travel", "for the office"),
        ("", "on sale", "second hand"),
    )  # fmt: skip
    every = [" ".join(part for part in parts if part) for parts in itertools.product(*words)]
    np.random.default_rng(0).shuffle(every)
    return every


def minilm(count: int) -> Vectors:
    """Return the vectors of composed texts; the last of them serve as queries."""
    from export.reference import Reference

    encoder = Reference(Path("model_repository"), "minilm")
    return encoder.embed([text.encode() for text in texts()[:count]])


def digest_of(number: int) -> bytes:
    """Return the digest of a numbered text."""
    return digest(text_input(f"item {number}"))


def model(name: str = "drawn") -> Model:
    """Return the generation that is measured."""
    return Model(drawn_facts(name, DIMENSION), np.zeros(DIMENSION, np.float16))


def put(store: Store, measured: Model, first: int, vectors: Vectors) -> None:
    """Write vectors under the digests of `first` and what follows."""
    keys = [
        Key(measured.name, measured.generation, digest_of(first + row))
        for row in range(len(vectors))
    ]
    records = {
        key.digest: encode_embedding(key, vector, "float16", now_ms())
        for key, vector in zip(keys, vectors, strict=True)
    }
    store.put_many(measured.name, measured.generation, records)


def _put(store: Store, measured: Model, first: int, page: Vectors) -> bool:
    try:
        put(store, measured, first, page)
    except ArchiveUnavailable as error:
        console.print(f"again from {first}: {error.message[:60]}")
        return False
    return True


def fill(store: Store, measured: Model, pages: Iterator[Vectors]) -> float:
    """Write pages of vectors; returns the seconds that it took."""
    started, first = time.perf_counter(), 0
    for page in pages:
        while not _put(store, measured, first, page):
            time.sleep(2)  # as consumers do
        first += len(page)
    return time.perf_counter() - started


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Return p50 and p99 in milliseconds."""
    return {
        "p50_ms": round(1000 * float(np.percentile(seconds, 50)), 2),
        "p99_ms": round(1000 * float(np.percentile(seconds, 99)), 2),
    }


def measure(
    neighbours: Neighbours, store: Store, measured: Model, queries: Vectors
) -> dict[str, Any]:
    """Return recall at 10 against exact search, and the latency of single queries."""
    started = time.perf_counter()
    right = exact_nearest(Archive(store), measured, queries, K, HOUR)
    exact_s = time.perf_counter() - started
    neighbours.nearest(measured, queries[:20], K, 60)
    seconds: list[float] = []
    found: list[list[Near]] = []
    for query in queries:
        started = time.perf_counter()
        found += neighbours.nearest(measured, query[None], K, 60)
        seconds.append(time.perf_counter() - started)
    shares = [
        len({one.digest for one in some} & {one.digest for one in near}) / K
        for some, near in zip(right, found, strict=True)
    ]
    return {
        "recall_at_10": round(float(np.mean(shares)), 4),
        **percentiles(seconds),
        "exact_s": round(exact_s, 1),
    }


def embedded(size: int, vectors: Vectors | None, threads: int, with_http: bool) -> dict[str, Any]:
    """Measure the embedded index at one size."""
    from embark.neighbours.building import build
    from embark.neighbours.embedded import EmbeddedNeighbours
    from embark.neighbours.rebuilding import FOLDER
    from embark.neighbours.snapshot import open_newest
    from embark.store import lmdb_journal
    from embark.store.lmdb import LmdbStore, space

    measured = model()
    with tempfile.TemporaryDirectory() as named:
        data = Path(named)
        with closing(LmdbStore(data / "archive", 2**36)) as store:
            pages = drawn(size, 1) if vectors is None else iter([vectors[:size]])
            fill_s = fill(store, measured, pages)
            folder = store.folder / FOLDER / measured.name / measured.generation
            started = time.perf_counter()
            made = build(store, folder, measured, threads)
            build_s = time.perf_counter() - started
            assert made is not None
            with store.transaction() as txn:
                head = lmdb_journal.head(
                    txn, store.journal, space(measured.name, measured.generation)
                )
            assert head is not None
            started = time.perf_counter()
            open_newest(folder, head, DIMENSION)
            open_s = time.perf_counter() - started
            asked = next(drawn(QUERIES, 2)) if vectors is None else vectors[size:]
            with closing(EmbeddedNeighbours(store, lambda: [measured], builds=False)) as index:
                result = measure(index, store, measured, asked)
                tail = next(drawn(PAGE, 3))
                for part in range(2):
                    put(store, measured, size + part * PAGE, tail)
                index.nearest(measured, asked[:1], K, 60)
                seconds = []
                for query in asked:
                    started = time.perf_counter()
                    index.nearest(measured, query[None], K, 60)
                    seconds.append(time.perf_counter() - started)
        result |= {
            "size": size,
            "fill_s": round(fill_s, 1),
            "build_s": round(build_s, 1),
            "threads": threads,
            "open_s": round(open_s, 2),
            "index_bytes_per_vector": round(made.size / made.items),
            "archive_bytes_per_vector": round(_used(data / "archive" / "data.mdb") / size),
            "with_tail_of_2000": percentiles(seconds),
        }
        if with_http:
            result["http"] = http(data)
    return result


def _used(path: Path) -> int:
    return path.stat().st_blocks * 512


@contextmanager
def gateway(data: Path) -> Iterator[str]:
    """A gateway of one process on an archive that is there."""
    described = data / "models" / "drawn" / "1" / FACTS_FILE
    described.parent.mkdir(parents=True, exist_ok=True)
    described.write_text(drawn_facts("drawn", DIMENSION).model_dump_json(), "utf-8")
    url, environment = "http://127.0.0.1:18099", {
        "EMBARK_DATA": str(data),
        "EMBARK_ARCHIVE__MAX_BYTES": str(2**36),
        "EMBARK_RETINA__MODEL_REPOSITORY": str(data / "models"),
        "EMBARK_GATEWAY__PORT": "18099",
        "EMBARK_GATEWAY__PROCESSES": "1",
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "gateway"], env={**os.environ, **environment})
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{url}/v2/health/ready").is_success:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def http(data: Path) -> dict[str, float]:
    """Measure GET /v1/neighbours by key, one at a time."""
    rng = np.random.default_rng(5)
    with gateway(data) as url, httpx.Client(base_url=url, timeout=60) as client:
        seconds = []
        for number in rng.integers(0, 10_000, QUERIES + 20):
            key = f"drawn:{GENERATION}:{digest_of(int(number)).hex()}"
            started = time.perf_counter()
            answer = client.get("/v1/neighbours", params={"key": key, "k": K})
            seconds.append(time.perf_counter() - started)
            assert answer.json()["items"][0]["status"] == "hit", answer.text
    return percentiles(seconds[20:])


def writes() -> dict[str, Any]:
    """Measure what the journal costs a consumer's write of 16 records, in alternation."""
    from embark.store.lmdb import LmdbStore

    vectors = next(drawn(16, 1))
    with tempfile.TemporaryDirectory() as named:
        stores = {
            kept: LmdbStore(Path(named) / str(kept), 2**32, lambda name, kept=kept: kept)  # type: ignore[misc]
            for kept in (False, True)
        }
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for turn in range(600):
            for kept, store in stores.items():
                started = time.perf_counter()
                put(store, model(), 16 * turn, vectors)
                seconds[kept].append(time.perf_counter() - started)
        for store in stores.values():
            store.close()
    return {"without": percentiles(seconds[False]), "with_journal": percentiles(seconds[True])}


def cassandra(size: int, port: int | None) -> dict[str, Any]:
    """Measure Cassandra's index at one size, on the node at `port` or one of its own."""
    from embark.cluster.local import LocalCluster
    from embark.settings import CassandraSettings
    from embark.store.cassandra import (
        CassandraNeighbours,
        CassandraStore,
        Connection,
        NeighbourTables,
    )
    from embark.store.cassandra.schema import apply

    with tempfile.TemporaryDirectory() as named:
        cluster = None
        if port is None:
            port = 19142
            cluster = LocalCluster(Path(named), nodes=1, cassandra_port=port, kafka_port=port + 1)
            cluster.start(console.print)
        try:
            settings = CassandraSettings(
                port=port, keyspace=f"neighbours_{size}", write_timeout_seconds=20
            )
            measured = model()
            list(apply(settings, [measured.facts]))
            connection = Connection(settings)
            connection.wait_settled(30)
            tables = NeighbourTables(connection, lambda name: True)
            with closing(CassandraStore(connection, tables)) as store:
                fill_s = fill(store, measured, drawn(size, 1))
                queries = next(drawn(QUERIES, 2))
                index = CassandraNeighbours(store, tables)
                result = measure(index, store, measured, queries)
        finally:
            if cluster is not None:
                cluster.stop()
    return {"size": size, "fill_s": round(fill_s, 1), **result}


def libraries(size: int) -> list[dict[str, Any]]:
    """Time the libraries that are installed, with the same graph parameters and one thread."""
    vectors = np.concatenate(list(drawn(size, 1)))
    queries = next(drawn(QUERIES, 2))
    right = np.argsort(-(queries @ vectors.T), axis=1)[:, :K]
    results = []
    for name, make in (("usearch", _usearch), ("hnswlib", _hnswlib), ("faiss", _faiss)):
        if importlib.util.find_spec(name) is None:
            continue
        started = time.perf_counter()
        search, save = make(vectors)
        build_s = time.perf_counter() - started
        seconds, hits = [], 0
        for query, expected in zip(queries, right, strict=True):
            started = time.perf_counter()
            found = search(query)
            seconds.append(time.perf_counter() - started)
            hits += len(set(found) & set(expected.tolist()))
        with tempfile.TemporaryDirectory() as folder:
            save(str(Path(folder) / "index"))
            size_bytes = (Path(folder) / "index").stat().st_size
        results.append(
            {
                "library": name,
                "build_s": round(build_s, 1),
                "recall_at_10": round(hits / (K * len(queries)), 4),
                **percentiles(seconds),
                "bytes_per_vector": round(size_bytes / size),
            }
        )
    return results


Made = tuple[Callable[[Vectors], list[int]], Callable[[str], object]]


def _usearch(vectors: Vectors) -> Made:
    from usearch.index import Index

    index = Index(
        ndim=DIMENSION, metric="cos", dtype="f16", connectivity=16, expansion_add=128,
        expansion_search=128,
    )  # fmt: skip
    index.add(np.arange(len(vectors), dtype=np.uint64), vectors, threads=1)
    return lambda query: index.search(query, K, threads=1).keys.tolist(), index.save


def _hnswlib(vectors: Vectors) -> Made:
    import hnswlib

    index = hnswlib.Index("cosine", DIMENSION)
    index.init_index(len(vectors), M=16, ef_construction=128)
    index.add_items(vectors, num_threads=1)
    index.set_ef(128)
    return lambda query: index.knn_query(query, K, num_threads=1)[0][0].tolist(), index.save_index


def _faiss(vectors: Vectors) -> Made:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexHNSWSQ(
        DIMENSION, faiss.ScalarQuantizer.QT_fp16, 16, faiss.METRIC_INNER_PRODUCT
    )
    index.hnsw.efConstruction, index.hnsw.efSearch = 128, 128
    index.train(vectors)
    index.add(vectors)
    return (
        lambda query: index.search(query[None], K)[1][0].tolist(),
        lambda path: faiss.write_index(index, path),
    )


def show(rows: list[dict[str, Any]]) -> None:
    """Print results as a table."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*(str(row.get(name, "")) for name in columns))
    console.print(table)


def main() -> None:
    """Measure what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("embedded", "cassandra", "libraries", "writes"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000])
    parser.add_argument("--minilm", action="store_true", help="real vectors; 10,000")
    parser.add_argument("--threads", type=int, default=2, help="of making an index")
    parser.add_argument("--http", action="store_true", help="also through a gateway")
    parser.add_argument("--port", type=int, help="a Cassandra that runs")
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if options.what == "writes":
        rows.append(writes())
    elif options.minilm:
        vectors = minilm(10_000 + QUERIES)
        rows.append(embedded(10_000, vectors, options.threads, options.http))
    else:
        for size in options.sizes:
            if options.what == "libraries":
                rows += libraries(size)
            elif options.what == "cassandra":
                rows.append(cassandra(size, options.port))
            else:
                rows.append(embedded(size, None, options.threads, options.http))
            show(rows[-1:])
    show(rows)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1), "utf-8")


if __name__ == "__main__":
    main()
