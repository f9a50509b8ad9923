"""L1: how often it hits beside an LRU of as many rows, what a key costs, how much memory a vector.

`python -m benchmarks.l1`: hit ratios of a Zipf stream, alone and with scans that come once, in
batches of 100; CPU time of `get_many` and `put_many`, each batch size in every round; and the
resident memory of a million vectors. Prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.drawn import drawn_facts
from embark.models import Model
from gateway.l1 import L1
from gateway.l1.arena import row_bytes

DIMENSION = 384
ITEMS = 50_000
BATCH = 100
MILLION = 1_000_000

Numbers = npt.NDArray[np.int64]

console = Console(highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    ratios = {
        name: _ratios(with_scan, rows, options.batches)
        for rows in (500, 5000)
        for name, with_scan in ((f"Zipf, {rows} rows", False), (f"Zipf + scan, {rows} rows", True))
    }
    costs, per_vector = _costs(options.rounds)
    _show(ratios, costs, per_vector)
    if options.json:
        found = {"hit_ratio": ratios, "us": costs, "bytes_to_vectors_own": per_vector}
        options.json.write_text(json.dumps(found, indent=1), "utf-8")


def _model() -> Model:
    return Model(drawn_facts("words", DIMENSION), np.zeros(DIMENSION, np.float16))


def _stream(with_scan: bool, batches: int) -> Iterator[Numbers]:
    """Yield batches: of a Zipf law over 50,000 items; a third of what is scanned comes once."""
    rng = np.random.default_rng(1)
    weights = 1 / np.arange(1, ITEMS + 1) ** 0.9
    order = rng.permutation(ITEMS)
    scanned = ITEMS
    for _ in range(batches):
        batch = order[rng.choice(ITEMS, BATCH, p=weights / weights.sum())]
        if with_scan:
            batch[: BATCH // 3] = np.arange(scanned, scanned + BATCH // 3)
            scanned += BATCH // 3
        yield batch


def _ratios(with_scan: bool, rows: int, batches: int) -> dict[str, float]:
    """Return hits by asked, of the second half of a stream."""
    model = _model()
    l1 = L1(rows * row_bytes(DIMENSION, "float16"))
    digests = np.random.default_rng(2).integers(
        0, 256, (ITEMS + batches * BATCH, 16), dtype=np.uint8
    )
    vectors = np.zeros((BATCH, DIMENSION), np.float16)
    written = np.zeros(BATCH, np.int64)
    lru: OrderedDict[int, None] = OrderedDict()
    hits = {"S3-FIFO": 0, "LRU": 0}
    for number, batch in enumerate(_stream(with_scan, batches)):
        counts = number >= batches // 2
        found = l1.get_many(model, digests[batch]).found
        hits["S3-FIFO"] += int(found.sum()) * counts
        missing = ~found
        if missing.any():
            l1.put_many(model, digests[batch[missing]], vectors[missing], written[: missing.sum()])
        for one in batch.tolist():
            hits["LRU"] += (one in lru) * counts
            lru[one] = None
            lru.move_to_end(one)
            if len(lru) > rows:
                lru.popitem(last=False)
    asked = BATCH * (batches - batches // 2)
    return {name: count / asked for name, count in hits.items()}


def _costs(rounds: int) -> tuple[dict[str, Any], float]:
    """Return CPU microseconds by batch, and memory per vector to the vector's own bytes."""
    model, rng = _model(), np.random.default_rng(3)
    digests = rng.integers(0, 256, (MILLION, 16), dtype=np.uint8)
    vectors = rng.normal(size=(1000, DIMENSION)).astype(np.float16)
    process = psutil.Process()
    before = process.memory_info().rss
    l1 = L1(2**30)
    put = []
    for start in range(0, MILLION, 1000):
        began = time.thread_time_ns()
        l1.put_many(model, digests[start : start + 1000], vectors, np.zeros(1000, np.int64))
        put.append((time.thread_time_ns() - began) / 1000)
    used = process.memory_info().rss - before
    took: dict[int, list[float]] = {1: [], 10: [], 100: [], 1000: []}
    for _ in range(rounds):
        for count, some in took.items():
            batch = digests[rng.integers(0, MILLION, count)]
            began = time.thread_time_ns()
            held = l1.get_many(model, batch)
            some.append((time.thread_time_ns() - began) / 1000)
            assert held.found.mean() > 0.99
    costs: dict[str, Any] = {f"get {n}": statistics.median(some) for n, some in took.items()}
    costs["put 1000"] = statistics.median(put)
    return costs, used / (MILLION * DIMENSION * 2)


def _show(ratios: dict[str, dict[str, float]], costs: dict[str, float], per_vector: float) -> None:
    table = Table("hit ratio", "S3-FIFO", "LRU")
    for name, found in ratios.items():
        table.add_row(name, f"{found['S3-FIFO']:.3f}", f"{found['LRU']:.3f}")
    console.print(table)
    table = Table("of a million", "µs", "ns a key")
    for name, took in costs.items():
        table.add_row(name, f"{took:.1f}", f"{1000 * took / int(name.split()[1]):.0f}")
    console.print(table)
    console.print(f"memory of a million vectors: {per_vector:.3f} times their own bytes")


if __name__ == "__main__":
    main()
