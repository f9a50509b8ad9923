"""What a gateway does when it is asked more than it can answer: `python -m benchmarks.shedding`.

One worker process on the embedded archive; lookups of 100 texts, as JSON. First what it sustains
with four clients that ask without pause, then open-loop arrivals (they do not wait for answers) at
multiples of that, timed from the moment when each was due. Prints a table, and JSON with --json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from tests.support.process import GatewayProcess, gateway_process

_ITEMS = 100
_CLIENTS = 4
_MOST_CONNECTIONS = 400
_TIMES = (0.5, 1.0, 2.0, 3.0)


@dataclass(frozen=True)
class Row:
    """One load.

    Attributes:
        times: multiple of what is sustained.
        offered: requests a second.
        accepted: share answered 200.
        p50_ms, p99_ms: of accepted requests.
        refused_p50_ms: of those turned away.
        cpu: share of a core that the worker used.
    """

    times: float
    offered: float
    accepted: float
    p50_ms: float
    p99_ms: float
    refused_p50_ms: float
    cpu: float


class _Connections:
    """Connections that are kept open and used again."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port, self._request = port, request
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.open = 0

    async def ask(self) -> int:
        """Send the request; returns the status, 0 if no connection may be opened."""
        if self._idle:
            reader, writer = self._idle.pop()
        elif self.open < _MOST_CONNECTIONS:
            self.open += 1
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        else:
            return 0
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        self._idle.append((reader, writer))
        return int(head[9:12])

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


async def _sustained(port: int, request: bytes, seconds: float) -> float:
    connections = _Connections(port, request)
    ends, done = time.perf_counter() + seconds, 0

    async def client() -> None:
        nonlocal done
        while time.perf_counter() < ends:
            status = await connections.ask()
            done += status == 200

    await asyncio.gather(*(client() for _ in range(_CLIENTS)))
    connections.close()
    return done / seconds


async def _offered(
    port: int, request: bytes, rate: float, seconds: float
) -> list[tuple[int, float]]:
    connections, chance = _Connections(port, request), random.Random(1)
    found: list[tuple[int, float]] = []

    async def one(due: float) -> None:
        status = await connections.ask()
        found.append((status, time.perf_counter() - due))

    asked = set()
    due = time.perf_counter()
    ends = due + seconds
    while due < ends:
        due += chance.expovariate(rate)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(one(due))
        asked.add(task)
        task.add_done_callback(asked.discard)
    await asyncio.gather(*asked)
    connections.close()
    return found


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else 0.0


def _row(gateway: GatewayProcess, request: bytes, times: float, rate: float, seconds: float) -> Row:
    worker: psutil.Process = gateway.workers()[0]
    before, started = sum(worker.cpu_times()[:2]), time.perf_counter()
    found = asyncio.run(_offered(gateway.port, request, rate, seconds))
    cpu = (sum(worker.cpu_times()[:2]) - before) / (time.perf_counter() - started)
    accepted = [seconds for status, seconds in found if status == 200]
    refused = [seconds for status, seconds in found if status == 503]
    assert {status for status, _ in found} <= {0, 200, 503}
    return Row(
        times,
        len(found) / seconds,
        len(accepted) / len(found),
        _quantile(accepted, 0.5),
        _quantile(accepted, 0.99),
        _quantile(refused, 0.5),
        cpu,
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="of each load")
    parser.add_argument("--objective-ms", type=int, default=200, help="gateway.objective_ms")
    parser.add_argument("--threads", type=int, default=16, help="gateway.threads")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    texts = [f"text {number}" for number in range(_ITEMS)]
    body = json.dumps({"model": "words", "items": texts}).encode()
    head = f"POST /v1/lookup HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    request = head.encode() + body
    settings = {
        "gateway__processes": 1,
        "gateway__threads": options.threads,
        "gateway__objective_ms": options.objective_ms,
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        gateway_process(Path(folder), *texts, **settings) as gateway,
    ):
        asyncio.run(_sustained(gateway.port, request, 2))
        rate = asyncio.run(_sustained(gateway.port, request, options.seconds))
        rows = [_row(gateway, request, times, rate * times, options.seconds) for times in _TIMES]
    if options.json:
        print(json.dumps({"sustained": rate, "rows": [asdict(row) for row in rows]}))
        return 0
    print(f"sustained {rate:.0f}/s; objective {options.objective_ms} ms\n")
    print("| offered | requests/s | accepted | p50 ms | p99 ms | refused p50 ms | worker's core |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.times:g} times | {row.offered:.0f} | {row.accepted:.0%} | {row.p50_ms:.1f}"
            f" | {row.p99_ms:.1f} | {row.refused_p50_ms:.1f} | {row.cpu:.0%} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
