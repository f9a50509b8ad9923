"""`python -m benchmarks.soak`: hot traffic on `embark up` for an hour, with restarts.

After an eighth of the time a restart follows another until half-time, in turns: the gateway's
master is told to replace its workers (SIGHUP), one worker is killed (SIGKILL). The second half is
undisturbed: what grows there steadily (see `memory.grows`) is a leak. Exit status 1: it grows, an
answer was wrong, an error happened but within 20 s after a restart, or processes are left over.
Needs an exported minilm and Triton's environment (`make models retina`).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import psutil

from benchmarks.gateway.subjects import fill_archive
from benchmarks.gateway.workload import REPOSITORY, Inputs, vectors_of
from benchmarks.soak.memory import MIB, Held, grows, held_by, slope
from benchmarks.soak.traffic import Archived, Seen, ask_until, share
from embark.models import load_catalogue
from tests.support.stack import Stack, running

_MODEL = "minilm"
_PARTS = ("gateway", "consumers")
_WARM_UP, _RESTARTED = 1 / 8, 1 / 2
_GRACE_SECONDS = 20
_LEAST: Final = {"anonymous": 8 * MIB, "shared": 8 * MIB, "descriptors": 8, "threads": 8}


@dataclass(frozen=True)
class Sample:
    """One look at the platform.

    Attributes:
        at_s: seconds after the traffic's beginning.
        requests: answered so far.
        parts: what each part's processes hold.
        shm: bytes in use in /dev/shm, by whomever.
    """

    at_s: float
    requests: int
    parts: dict[str, Held]
    shm: int


def main() -> int:
    """Run, print the table and the verdict, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--clients", type=int, default=3, help="processes that ask")
    parser.add_argument("--items", type=int, default=50_000, help="archived vectors")
    parser.add_argument("--l1-mib", type=int, default=16, help="gateway.l1.max_bytes")
    parser.add_argument("--new", type=float, default=2, help="new texts a second")
    parser.add_argument("--restarts", type=int, default=6)
    parser.add_argument("--every", type=float, default=5, help="seconds between samples")
    parser.add_argument("--model-repository", type=Path, default=REPOSITORY)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/soak.json"))
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="embark-soak-"))
    try:
        archived = _archive(folder / "data", options)
        environment = {
            "EMBARK_GATEWAY__L1__MAX_BYTES": str(options.l1_mib * MIB),
            # An index of neighbours would grow with every new text, as it should.
            "EMBARK_ARCHIVE__NEIGHBOURS__MODELS": "",
        }
        repository = options.model_repository.absolute()
        with running(folder / "data", environment, repository) as stack:
            samples, restarts, seen = _soak(stack, archived, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    faults = faults_of(samples, restarts, seen, 60 * options.minutes)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    found = {"restarts": restarts, "faults": faults, "clients": [asdict(one) for one in seen]}
    samples_found = [asdict(one) for one in samples]
    options.json.write_text(json.dumps({**found, "samples": samples_found}, indent=1), "utf-8")
    _show(samples, restarts, seen, 60 * options.minutes)
    print("\n".join(f"FAULT: {fault}" for fault in faults) or "no fault")
    return 1 if faults else 0


def _archive(data: Path, options: argparse.Namespace) -> Archived:
    model = load_catalogue(options.model_repository)[_MODEL]
    inputs = Inputs(model, options.items)
    digests = inputs.all.digests
    fill_archive(data, model, digests)
    vectors = b"".join(vectors_of(inputs).values())
    return Archived(
        model.name,
        model.generation,
        [payload.decode() for payload in inputs.known],
        np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16),
        np.frombuffer(vectors, model.facts.dtype).reshape(len(digests), -1),
    )


def _soak(
    stack: Stack, archived: Archived, options: argparse.Namespace
) -> tuple[list[Sample], list[tuple[float, str]], list[Seen]]:
    context = multiprocessing.get_context("spawn")
    counters = context.Array("Q", options.clients, lock=False)
    port, seconds = int(stack.url.rpartition(":")[2]), 60 * options.minutes
    due = _due(options.restarts, seconds)
    samples, restarts = [_look(stack, 0, counters)], []
    with ProcessPoolExecutor(options.clients, context, share, (counters,)) as pool:
        began = time.monotonic()
        clients = [
            pool.submit(
                ask_until, port, archived, number, options.new / options.clients, began + seconds
            )
            for number in range(options.clients)
        ]
        while (now := time.monotonic() - began) < seconds and not any(
            client.done() for client in clients
        ):
            if due and now >= due[0][0]:
                _, name, restart = due.pop(0)
                restart(stack)
                restarts.append((began + now, name))
            samples.append(_look(stack, now, counters))
            print(f"{now:6.0f} s  {samples[-1].requests} requests", file=sys.stderr, flush=True)
            time.sleep(options.every)
        return samples, restarts, [client.result() for client in clients]


def _due(count: int, seconds: float) -> list[tuple[float, str, Callable[[Stack], None]]]:
    ways = (("SIGHUP to the master", _replace_workers), ("SIGKILL of a worker", _kill_worker))
    span = _RESTARTED - _WARM_UP
    return [
        (seconds * (_WARM_UP + span * number / count), *ways[number % len(ways)])
        for number in range(count)
    ]


def _replace_workers(stack: Stack) -> None:
    master, _ = _gateway(stack)
    master.send_signal(signal.SIGHUP)


def _kill_worker(stack: Stack) -> None:
    _, workers = _gateway(stack)
    workers[0].kill()


def _gateway(stack: Stack) -> tuple[psutil.Process, list[psutil.Process]]:
    processes = stack.children("gateway")
    pids = {process.pid for process in processes}
    (master,) = (process for process in processes if process.ppid() not in pids)
    return master, [process for process in processes if process.pid != master.pid]


def _look(stack: Stack, at_s: float, counters: Sequence[int]) -> Sample:
    parts = {part: held_by(stack.children(part)) for part in _PARTS}
    return Sample(at_s, sum(counters), parts, shutil.disk_usage("/dev/shm").used)


def faults_of(
    samples: Sequence[Sample],
    restarts: Sequence[tuple[float, str]],
    seen: Sequence[Seen],
    seconds: float,
) -> list[str]:
    """Return what was wrong in a run of so many seconds; see the module."""
    faults = [f"wrong: {wrong}" for one in seen for wrong in one.wrong]
    unexpected = [
        error
        for at, error in sorted(error for one in seen for error in one.errors)
        if not any(0 <= at - restarted <= _GRACE_SECONDS for restarted, _ in restarts)
    ]
    if unexpected:
        faults.append(f"{len(unexpected)} errors without a restart, the first: {unexpected[0]}")
    late = _undisturbed(samples, seconds)
    for part in _PARTS:
        for kind, least in _LEAST.items():
            if grows([getattr(sample.parts[part], kind) for sample in late], least):
                faults.append(f"{part}: {kind} grows steadily in the undisturbed half")
        before, after = samples[0].parts[part].processes, samples[-1].parts[part].processes
        if before != after:
            faults.append(f"{part}: {before} processes at the start, {after} at the end")
    return faults


def _undisturbed(samples: Sequence[Sample], seconds: float) -> list[Sample]:
    """Return the samples of the half without restarts."""
    return [sample for sample in samples if sample.at_s >= _RESTARTED * seconds]


def _show(
    samples: Sequence[Sample],
    restarts: Sequence[tuple[float, str]],
    seen: Sequence[Seen],
    seconds: float,
) -> None:
    print(f"\n{len(restarts)} restarts; {sum(one.vectors for one in seen)} vectors compared;")
    print(f"{sum(one.missing for one in seen)} archived items not answered as hits;")
    print(f"{sum(one.computed for one in seen)} new texts computed;")
    names = [_last(restarts, at) for one in seen for at, _ in one.errors]
    told = ", ".join(f"{count} after {name}" for name, count in Counter(names).items())
    print(f"errors: {told or 'none'}\n")
    kinds = "PSS, anonymous, shared MiB; descriptors, threads"
    print(f"| | requests | gateway: {kinds} | consumers: {kinds} | /dev/shm MiB |")
    print("|---|---|---|---|---|")
    stages = {"start": 0, "after warm-up": _WARM_UP, "1/4": 0.25, "1/2": 0.5, "3/4": 0.75, "end": 1}
    for name, when in stages.items():
        at = min(samples, key=lambda sample: abs(sample.at_s - when * seconds))
        cells = [_cell(at.parts[part]) for part in _PARTS]
        print(f"| {name} | {at.requests} | {' | '.join(cells)} | {at.shm / MIB:.0f} |")
    late = _undisturbed(samples, seconds)
    for part in _PARTS:
        values = [sample.parts[part].anonymous / MIB for sample in late]
        by = slope([sample.requests for sample in late], values)
        print(
            f"\n{part}: {by:+.2f} MiB of anonymous memory per million requests in the second half"
        )


def _last(restarts: Sequence[tuple[float, str]], at: float) -> str:
    """Return the last restart before a moment."""
    return next((name for when, name in reversed(restarts) if when <= at), "no restart")


def _cell(held: Held) -> str:
    sizes = (held.pss, held.anonymous, held.shared)
    numbers = ", ".join(f"{size / MIB:.0f}" for size in sizes)
    return f"{numbers}; {held.descriptors}, {held.threads}"


if __name__ == "__main__":
    sys.exit(main())
