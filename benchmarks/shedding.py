"""What a gateway does when it is asked more than it can answer: `python -m benchmarks.shedding`.

Lookups of 100 texts as JSON, on the embedded archive. First what each number of threads and
processes sustains with four clients that ask without pause, in turns; then, for each, open-loop
arrivals (they do not wait for answers) at multiples of that, timed from when each was due.

    python -m benchmarks.shedding --apart                         the table of docs/security.md
    python -m benchmarks.shedding --threads 3,8,16 --processes 1,2   which defaults are best

With --apart the generator has a core, and the gateway the others: as from another machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from embark.settings import GatewaySettings
from tests.support.process import GatewayProcess, gateway_process

_ITEMS = 100
_CLIENTS = 4
_WARM_UP_SECONDS = 2.0
_MOST_CONNECTIONS = 400
_TIMES = (0.5, 1.0, 2.0, 3.0)
_FAILED = 0


@dataclass(frozen=True)
class Row:
    """One load.

    Attributes:
        times: multiple of what is sustained.
        offered: requests a second.
        accepted, refused, failed: shares answered 200, 503, and neither: the connection broke, or
            the generator had none left.
        p50_ms, p99_ms: of accepted requests.
        refused_p50_ms: of those turned away.
        cpu: cores that the workers used.
    """

    times: float
    offered: float
    accepted: float
    refused: float
    failed: float
    p50_ms: float
    p99_ms: float
    refused_p50_ms: float
    cpu: float


@dataclass(frozen=True)
class Found:
    """What one gateway did.

    Attributes:
        processes, threads: of it.
        sustained: requests a second, in each round.
        rows: the loads.
    """

    processes: int
    threads: int
    sustained: list[float]
    rows: list[Row]


class _Connections:
    """Connections that are kept while the gateway keeps them."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port, self._request = port, request
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._open = 0

    async def ask(self) -> int:
        """Send the request; returns the status, or `_FAILED`."""
        if not self._idle and self._open >= _MOST_CONNECTIONS:
            return _FAILED
        writer = None
        try:
            if self._idle:
                reader, writer = self._idle.pop()
            else:
                self._open += 1
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(self._request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(_field(head, b"content-length")))
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            self._forget(writer)
            return _FAILED
        if _field(head, b"connection") == b"close":
            self._forget(writer)
        else:
            self._idle.append((reader, writer))
        return int(head[9:12])

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()

    def _forget(self, writer: asyncio.StreamWriter | None) -> None:
        self._open -= 1
        if writer is not None:
            writer.close()


def _field(head: bytes, name: bytes) -> bytes:
    return head.partition(b"\r\n" + name + b":")[2].partition(b"\r\n")[0].strip()


async def _sustained(port: int, request: bytes, seconds: float) -> float:
    connections = _Connections(port, request)
    ends, done = time.perf_counter() + seconds, 0

    async def client() -> None:
        nonlocal done
        while time.perf_counter() < ends:
            status = await connections.ask()
            # Not in one expression: it would read the count before it waits.
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


def row_of(times: float, found: Sequence[tuple[int, float]], seconds: float, cpu: float) -> Row:
    """Return what was found, as statuses and seconds, as a row."""
    by_status: dict[int, list[float]] = {}
    for status, took in found:
        by_status.setdefault(status, []).append(took)
    if unknown := by_status.keys() - {200, 503, _FAILED}:
        raise ValueError(f"answered {sorted(unknown)}: no overload is")
    accepted, refused, failed = (by_status.get(status, []) for status in (200, 503, _FAILED))
    return Row(
        times=times,
        offered=len(found) / seconds,
        accepted=len(accepted) / len(found),
        refused=len(refused) / len(found),
        failed=len(failed) / len(found),
        p50_ms=_quantile(accepted, 0.5),
        p99_ms=_quantile(accepted, 0.99),
        refused_p50_ms=_quantile(refused, 0.5),
        cpu=cpu,
    )


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else 0.0


def _load(gateway: GatewayProcess, request: bytes, times: float, rate: float, s: float) -> Row:
    before, started = _worked(gateway), time.perf_counter()
    found = asyncio.run(_offered(gateway.port, request, rate * times, s))
    cpu = (_worked(gateway) - before) / (time.perf_counter() - started)
    return row_of(times, found, s, cpu)


def _worked(gateway: GatewayProcess) -> float:
    return sum(sum(worker.cpu_times()[:2]) for worker in gateway.workers())


@contextmanager
def _gateways(options: argparse.Namespace, texts: Sequence[str]) -> Iterator[list[GatewayProcess]]:
    """Run one for each number of processes and threads; on cores of their own if apart."""
    cores = sorted(os.sched_getaffinity(0))
    if options.apart and len(cores) < 2:
        raise SystemExit("--apart needs two cores")
    with ExitStack() as opened:
        if options.apart:
            os.sched_setaffinity(0, cores[:-1])  # which the gateways inherit
        gateways = []
        for processes, threads in product(options.processes, options.threads):
            folder = opened.enter_context(tempfile.TemporaryDirectory())
            settings = {
                "gateway__processes": processes,
                "gateway__threads": threads,
                "gateway__objective_ms": options.objective_ms,
            }
            gateways.append(opened.enter_context(gateway_process(Path(folder), *texts, **settings)))
        if options.apart:
            os.sched_setaffinity(0, cores[-1:])
        yield gateways


def _measure(options: argparse.Namespace) -> list[Found]:
    texts = [f"text {number}" for number in range(_ITEMS)]
    body = json.dumps({"model": "words", "items": texts}).encode()
    head = f"POST /v1/lookup HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    request = head.encode() + body
    with _gateways(options, texts) as gateways:
        for gateway in gateways:
            asyncio.run(_sustained(gateway.port, request, _WARM_UP_SECONDS))
        rates = [
            [asyncio.run(_sustained(one.port, request, options.seconds)) for one in gateways]
            for _ in range(options.rounds)
        ]
        found = []
        for gateway, sustained in zip(gateways, zip(*rates, strict=True), strict=True):
            rate = statistics.median(sustained)
            rows = [_load(gateway, request, times, rate, options.seconds) for times in _TIMES]
            settings = gateway.settings.gateway
            found.append(Found(settings.processes, settings.threads, list(sustained), rows))
        return found


def _show(one: Found, options: argparse.Namespace) -> None:
    rate, least, most = statistics.median(one.sustained), min(one.sustained), max(one.sustained)
    where = "a core for the generator alone" if options.apart else "generator on the same cores"
    print(
        f"\n{one.processes} processes of {one.threads} threads, {where}: {rate:.0f} requests/s"
        f" sustained ({least:.0f} to {most:.0f}); the objective is {options.objective_ms} ms:\n"
    )
    print("| offered | requests/s | accepted | refused | failed | p50 ms | p99 ms", end="")
    print(" | refused p50 ms | workers' cores |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in one.rows:
        print(
            f"| {row.times:g} times | {row.offered:.0f} | {row.accepted:.0%} | {row.refused:.0%}"
            f" | {row.failed:.1%} | {row.p50_ms:.1f} | {row.p99_ms:.1f}"
            f" | {row.refused_p50_ms:.1f} | {row.cpu:.2f} |"
        )


def _numbers(given: str) -> list[int]:
    return [int(one) for one in given.split(",")]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    threads = GatewaySettings().threads
    parser.add_argument("--threads", type=_numbers, default=[threads], help="gateway.threads, some")
    parser.add_argument("--processes", type=_numbers, default=[1], help="gateway.processes, some")
    parser.add_argument("--seconds", type=float, default=10, help="of each load")
    parser.add_argument("--rounds", type=int, default=3, help="of what is sustained")
    parser.add_argument("--objective-ms", type=int, default=200, help="gateway.objective_ms")
    parser.add_argument("--apart", action="store_true", help="a core for the generator alone")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    options = parser.parse_args()
    found = _measure(options)
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in found], indent=1), "utf-8")
    for one in found:
        _show(one, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
