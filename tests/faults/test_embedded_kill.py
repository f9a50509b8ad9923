"""SIGKILL of writers to the embedded archive and queue: nothing acknowledged is lost."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from embark.queue.base import Lane
from embark.queue.sqlite import SqliteQueue
from embark.store.lmdb import LmdbStore

ROUNDS = 8
GENERATION = "0" * 16

WRITE_RECORDS = """
import sys
from pathlib import Path
from embark.store.lmdb import LmdbStore
store, number = LmdbStore(Path(sys.argv[1]), 2**30), int(sys.argv[2])
while True:
    records = {(number + one).to_bytes(16, "big"): (number + one).to_bytes(8, "big") * 200
               for one in range(20)}
    store.put_many("m", "0" * 16, records)
    number += 20
    print(number, flush=True)
"""
PUT_REQUESTS = """
import sys
from pathlib import Path
from embark.inputs import Input, InputKind
from embark.keys import Key
from embark.queue.base import Lane, Request
from embark.queue.sqlite import SqliteQueue
queue, number = SqliteQueue(Path(sys.argv[1]), 15), int(sys.argv[2])
while True:
    queue.put([Request(Key("m", "0" * 16, (number + one).to_bytes(16, "big")),
                       Input(InputKind.TEXT, b"x" * 500), Lane.INTERACTIVE) for one in range(20)])
    number += 20
    print(number, flush=True)
"""


def run_and_kill(program: str, path: Path, start: int, seconds: float) -> int:
    """Run a writer, kill it, and return the number below which it acknowledged everything."""
    command = [sys.executable, "-c", program, str(path), str(start)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline()
        time.sleep(seconds)
        writer.kill()
        written = [line for line in writer.stdout.read().splitlines() if line]
    return int(written[-1]) if written else start + 20


@pytest.mark.parametrize("seed", [1])
def test_acknowledged_records_survive(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    acknowledged = 0
    for _ in range(ROUNDS):
        acknowledged = run_and_kill(WRITE_RECORDS, tmp_path, acknowledged, rng.uniform(0, 0.15))
        store = LmdbStore(tmp_path, 2**30)
        digests = [number.to_bytes(16, "big") for number in range(acknowledged)]
        found = store.get_many("m", GENERATION, digests, 1)
        assert found == [digest[-8:] * 200 for digest in digests]
        store.put_many("m", GENERATION, {b"x" * 16: b"still writable"})
        store.close()
    assert acknowledged > ROUNDS * 20


def test_accepted_requests_survive(tmp_path: Path) -> None:
    rng = random.Random(2)
    path = tmp_path / "queue.sqlite"
    accepted = 0
    for _ in range(ROUNDS):
        accepted = run_and_kill(PUT_REQUESTS, path, accepted, rng.uniform(0, 0.15))
    queue = SqliteQueue(path, 15)
    taken = {
        int.from_bytes(one.request.key.digest, "big")
        for one in queue.take(Lane.INTERACTIVE, 10**6, 10**9)
    }
    queue.close()
    assert taken >= set(range(accepted))
