"""How the table of vectors is best laid out: compaction and compression, side by side.

`python -m benchmarks.cassandra_layout`: a node of its own; for each layout the same records are
written, flushed and compacted, and read in batches of 100 random keys, in alternated rounds, with
the page cache dropped before the cold ones (that needs root; else cold is left out). Prints a table
and writes JSON. Figures of one run compare with each other, not with those of another machine.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from cassandra.cluster import Session
from cassandra.concurrent import execute_concurrent_with_args
from rich.console import Console
from rich.progress import track
from rich.table import Table

from embark.cluster.cassandra import ARTEFACTS, JARS, MODULE_FLAGS
from embark.cluster.java import find_java
from embark.cluster.local import LocalCluster
from embark.cluster.maven import fetch_jars
from embark.cluster.plan import load as load_plan
from embark.codec import encode_embedding
from embark.keys import Key
from embark.settings import CassandraSettings
from embark.store.cassandra.driver import new_cluster

DIMENSION = 384
BATCH = 100
CHUNK = 25
DROP_CACHES = Path("/proc/sys/vm/drop_caches")

COMPACTIONS = {
    "size-tiered": "{'class': 'SizeTieredCompactionStrategy'}",
    "leveled": "{'class': 'LeveledCompactionStrategy'}",
    "unified T4": "{'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'T4'}",
    "unified L10": "{'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'L10'}",
}
COMPRESSIONS = {
    "none": "{'enabled': false}",
    "lz4 4 KiB": "{'class': 'LZ4Compressor', 'chunk_length_in_kb': 4}",
    "lz4 16 KiB": "{'class': 'LZ4Compressor', 'chunk_length_in_kb': 16}",
}

console = Console(highlight=False)


@dataclass
class Layout:
    """One table, and what was measured of it."""

    compaction: str
    compression: str
    table: str
    writes_per_s: float = 0.0
    bytes_per_record: float = 0.0
    warm_ms: list[float] = field(default_factory=list)
    cold_ms: list[float] = field(default_factory=list)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path(".cache/cassandra_layout.json"))
    options = parser.parse_args()
    layouts = [
        Layout(compaction, compression, f"t{number}")
        for number, (compaction, compression) in enumerate(
            (compaction, compression) for compaction in COMPACTIONS for compression in COMPRESSIONS
        )
    ]
    with tempfile.TemporaryDirectory() as folder:
        cluster = LocalCluster(Path(folder) / "cluster", cassandra_port=29042, kafka_port=29092)
        try:
            addresses = cluster.start(console.print)
            settings = CassandraSettings(port=addresses.cassandra_port)
            with new_cluster(settings) as driver:
                _measure(driver.connect(), cluster.folder, layouts, options)
        finally:
            cluster.stop()
    _show(layouts)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps([asdict(one) for one in layouts], indent=2) + "\n")


def _measure(
    session: Session, folder: Path, layouts: list[Layout], options: argparse.Namespace
) -> None:
    # The commit log is the same for all of them, and would hide what differs.
    session.execute(
        "CREATE KEYSPACE bench WITH replication = {'class': 'SimpleStrategy',"
        " 'replication_factor': 1} AND durable_writes = false"
    )
    session.set_keyspace("bench")
    digests = [number.to_bytes(16, "little") for number in range(options.records)]
    for layout in track(layouts, "writing", console=console):
        _write(session, folder, layout, digests)
    rng = random.Random(0)
    cold = DROP_CACHES.exists() and _drop_caches()
    for _ in track(range(options.rounds), "reading", console=console):
        for layout in rng.sample(layouts, len(layouts)):
            if cold:
                _drop_caches()
                layout.cold_ms += _read(session, layout, digests, rng, 20)
            _read(session, layout, digests, rng, 50)
            layout.warm_ms += _read(session, layout, digests, rng, 100)


def _write(session: Session, folder: Path, layout: Layout, digests: list[bytes]) -> None:
    session.execute(
        f"CREATE TABLE {layout.table} (model text, generation text, digest blob, record blob,"
        " PRIMARY KEY ((model, generation, digest)))"
        f" WITH compaction = {COMPACTIONS[layout.compaction]}"
        f" AND compression = {COMPRESSIONS[layout.compression]}"
    )
    insert = session.prepare(
        f"INSERT INTO {layout.table} (model, generation, digest, record) VALUES (?, ?, ?, ?)"
    )
    rng = np.random.default_rng(0)
    started = time.monotonic()
    for start in range(0, len(digests), 10_000):
        part = digests[start : start + 10_000]
        vectors = rng.normal(size=(len(part), DIMENSION)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        rows = [
            ("minilm", "0" * 16, one, encode_embedding(Key("minilm", "0" * 16, one), vector,
             "float16", 0))
            for one, vector in zip(part, vectors, strict=True)
        ]  # fmt: skip
        execute_concurrent_with_args(session, insert, rows, concurrency=64)
    layout.writes_per_s = len(digests) / (time.monotonic() - started)
    for command in ("flush", "compact"):
        _nodetool(folder, command, "bench", layout.table)
    data = next((folder / "cassandra-1").rglob(f"bench/{layout.table}-*"))
    used = sum(one.stat().st_size for one in data.rglob("*") if one.is_file())
    layout.bytes_per_record = used / len(digests)


def _read(
    session: Session, layout: Layout, digests: list[bytes], rng: random.Random, batches: int
) -> list[float]:
    select = session.prepare(
        f"SELECT digest, record FROM {layout.table}"
        " WHERE model = 'minilm' AND generation = '0000000000000000' AND digest IN ?"
    )
    took = []
    for _ in range(batches):
        keys = rng.sample(digests, BATCH)
        started = time.perf_counter()
        futures = [
            session.execute_async(select, (keys[start : start + CHUNK],))
            for start in range(0, BATCH, CHUNK)
        ]
        found = sum(len(list(future.result())) for future in futures)
        took.append(1000 * (time.perf_counter() - started))
        assert found == BATCH
    return took


def _nodetool(folder: Path, *arguments: str) -> None:
    plan = load_plan(folder)
    assert plan is not None
    jars = fetch_jars(JARS, ARTEFACTS, console.print)
    tool = [str(find_java()), *MODULE_FLAGS, "-cp", f"{jars}/*"]
    tool += ["org.apache.cassandra.tools.NodeTool", "-h", "127.0.0.1", "-p", str(plan.jmx_ports[0])]
    subprocess.run([*tool, *arguments], check=True, capture_output=True, timeout=300)


def _drop_caches() -> bool:
    try:
        DROP_CACHES.write_text("3")
    except OSError:
        return False
    return True


def _show(layouts: list[Layout]) -> None:
    table = Table(title="100 keys, milliseconds", box=None, title_justify="left")
    for name in ("compaction", "compression", "bytes a record", "writes/s", "warm p50", "warm p99",
                 "cold p50"):  # fmt: skip
        table.add_column(name)
    for one in layouts:
        warm = statistics.quantiles(one.warm_ms, n=100)
        table.add_row(
            one.compaction,
            one.compression,
            f"{one.bytes_per_record:.0f}",
            f"{one.writes_per_s:.0f}",
            f"{warm[49]:.1f}",
            f"{warm[98]:.1f}",
            f"{statistics.median(one.cold_ms):.1f}" if one.cold_ms else "",
        )
    console.print(table)


if __name__ == "__main__":
    main()
