"""A mountain of bulk work: interactive work passes it, and consumers do not grow with it.

`BULK_REQUESTS` says how high; `make test-faults` makes it 100,000.
"""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from embark.client import Client
from embark.cluster.local import LocalCluster
from embark.queue.base import Lane
from tests.support.deployment import deployed
from tests.support.stack import computed, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.cluster, pytest.mark.timeout(900)]

BULK = int(os.environ.get("BULK_REQUESTS", "10000"))
ROUNDS = 5
GROWTH_BYTES = 200 * 2**20


def is_hit(client: Client, text: str) -> bool:
    return bool(client.lookup([text], "minilm").hits.all())


def test_interactive_work_passes_bulk_and_memory_is_bounded(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    with deployed(tmp_path, cluster) as deployment, Client(deployment.urls[0]) as client:

        def resident() -> int:
            pids = [deployment.parts[f"consumer-{number}"].pid for number in (1, 2)]
            return max(psutil.Process(pid).memory_info().rss for pid in pids)

        computed(client, ["warm"], "minilm")
        before = resident()
        started = time.monotonic()
        for start in range(0, BULK, 500):
            client.prefetch([f"bulk {start + one}" for one in range(500)], "minilm")
        print(f"{BULK} bulk requests accepted in {time.monotonic() - started:.1f} s")
        waits = []
        for number in range(ROUNDS):
            started = time.monotonic()
            # Asked again and again, as callers do: while Cassandra is late, a miss is not queued.
            wait_until(partial(is_hit, client, f"interactive {number}"), 60, "it is a hit")
            waits.append(time.monotonic() - started)
        grown = resident() - before

        def depth() -> int:
            lanes = client.health()["dependencies"]["queue"].get("lanes", {})
            return int(lanes[Lane.BULK.value]["depth"]) if lanes else 0

        # What is told may be a few seconds old; a drained lane would prove nothing.
        wait_until(lambda: depth() > BULK / 2, 60, "most of the bulk work waits still")
        print(f"interactive misses were hits after {[round(one, 2) for one in waits]} s;")
        print(f"bulk lane: {depth()}; a consumer grew by {grown / 2**20:.0f} MiB")
        assert grown < GROWTH_BYTES
