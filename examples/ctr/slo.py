"""`python -m examples.ctr slo`: the scoring service under its objective, beside towers run inline.

Starts everything on this machine, drives it in an open loop with new items arriving, and ends with
status 1 when the objective is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console

from embark.errors import ConfigurationError
from embark.ports import free_port
from examples.ctr.deployment import own, running
from examples.ctr.scorer import Scorer
from examples.ctr.serving.inline import InlineTimes, InlineTowers
from examples.ctr.serving.inputs import picture_digests
from examples.ctr.serving.state import copied, forget, warm
from examples.ctr.work import Work, add_work

_START_SECONDS = 120
_STOP_SECONDS = 30
_TRAINING_ITEMS = 300
_SCENARIO = """\
name = "ctr"
seed = {seed}

[arrivals]
timeout_ms = {timeout_ms}
stages = [
    {{ seconds = {ramp}, rate = {low}, to = {rate} }},
    {{ seconds = {seconds}, rate = {rate} }},
]

[catalogue]
size = {size}
zipf = {zipf}
new_per_second = {new_per_second}

[[mix]]
kind = "score"
items = {candidates}
users = 8
"""
_OBJECTIVES = """\
[[objective]]
endpoint = "score"
percentile = 99
limit_ms = {limit_ms}
error_budget = 0.0
minimum_hit_rate = {minimum_hit_rate}
"""
_RAMP_SECONDS = 5
_BUSY = 0.1

console = Console(highlight=False, markup=False, soft_wrap=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_work(parser)
    parser.add_argument("--rate", type=float, default=12, help="requests per second (default: 12)")
    parser.add_argument("--seconds", type=float, default=90, help="how long (default: 90)")
    parser.add_argument("--candidates", type=int, default=100, help="items a request")
    parser.add_argument("--zipf", type=float, default=1.0, help="exponent of popularity")
    parser.add_argument(
        "--new-per-second", type=float, default=0.2, help="new items (default: 0.2)"
    )
    parser.add_argument("--limit-ms", type=float, default=200, help="limit of p99 (default: 200)")
    parser.add_argument(
        "--deadline-ms",
        type=float,
        default=150,
        help="longest that the scoring service waits for EmbArk (default: 150)",
    )
    parser.add_argument(
        "--timeout-ms", type=float, default=2000, help="when a request is an error (default: 2000)"
    )
    parser.add_argument(
        "--minimum-hit-rate", type=float, default=0.95, help="over both modalities (default: 0.95)"
    )
    parser.add_argument(
        "--inline-requests", type=int, default=3, help="requests with inline towers; 0 for none"
    )
    parser.add_argument("--seed", type=int, default=1, help="of arrivals and choices (default: 1)")


def run(options: argparse.Namespace) -> int:
    """Measure; returns 0 if the objective is met, 1 if it is missed, 2 if nothing was measured.

    Raises:
        ConfigurationError: a part does not start, or the catalogue is too small.
    """
    work = Work(options.work)
    _train(work)
    scorer = Scorer.load(work.folder)
    size = _known_items(options, len(scorer.catalogue))
    folder = work.folder / "slo"
    pictures = picture_digests(
        scorer.catalogue, work.folder / "picture-keys.npy", lambda done, total: None
    )
    deployment = copied(own(work, _shipped(scorer)), work.data, folder / "data")
    forget(deployment, scorer, pictures, range(size, len(scorer.catalogue)))
    with running(deployment) as url:
        warm(url, scorer, size)
        with _service(work.folder, url, options.deadline_ms) as scoring:
            idle = _IdleCores()
            status = _load(options, scoring, size, folder)
            idle_share = idle.share()
    result = folder / "result.json"
    if status not in (0, 1) or not result.exists():
        return 2
    measured = {**json.loads(result.read_bytes()), "idle_cpu": idle_share}
    inline = _inline(options, scorer, work.models, size)
    _conclude(measured, inline, result)
    return status


def _train(work: Work) -> None:
    if work.scorer.exists():
        return
    console.print(f"no trained model in {work.folder}: training a small one first")
    command = [sys.executable, "-m", "examples.ctr", "train", "--work", str(work.folder)]
    command += ["--preset", "tiny", "--items", str(_TRAINING_ITEMS)]
    if subprocess.run(command, check=False).returncode != 0:
        raise ConfigurationError("training failed; its own lines say why")


def _known_items(options: argparse.Namespace, items: int) -> int:
    """Return how many items are there at the beginning: all but those that will arrive."""
    arriving = math.ceil(options.new_per_second * (options.seconds + _RAMP_SECONDS))
    size = items - arriving
    if size < options.candidates:
        raise ConfigurationError(
            f"the catalogue has {items} items; {options.candidates} candidates and"
            f" {arriving} new items need more: train with more --items, or give fewer"
            " --candidates, --new-per-second or --seconds"
        )
    return int(size)


def _shipped(scorer: Scorer) -> list[str]:
    return [name for name in (scorer.text_model, scorer.image_model) if name != "ctr_text"]


@contextmanager
def _service(work: Path, url: str, deadline_ms: float) -> Iterator[str]:
    """Run the scoring service; yields its URL."""
    port = free_port()
    command = [sys.executable, "-m", "examples.ctr", "serve", "--work", str(work), "--url", url]
    command += ["--port", str(port), "--deadline-ms", str(deadline_ms)]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        scoring = f"http://127.0.0.1:{port}"
        _wait_until_healthy(scoring, process)
        yield scoring
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health", trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise ConfigurationError("the scoring service did not start; its own lines say why")


def _load(options: argparse.Namespace, scoring: str, size: int, folder: Path) -> int:
    """Run the load test; returns its exit status."""
    scenario, objectives = folder / "scenario.toml", folder / "slo.toml"
    scenario.write_text(
        _SCENARIO.format(
            seed=options.seed,
            timeout_ms=options.timeout_ms,
            ramp=_RAMP_SECONDS,
            low=options.rate / 4,
            rate=options.rate,
            seconds=options.seconds,
            size=size,
            zipf=options.zipf,
            new_per_second=options.new_per_second,
            candidates=options.candidates,
        ),
        "utf-8",
    )
    objectives.write_text(
        _OBJECTIVES.format(limit_ms=options.limit_ms, minimum_hit_rate=options.minimum_hit_rate),
        "utf-8",
    )
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    command = [sys.executable, "-m", "loadtests", str(scenario), "--objectives", str(objectives)]
    command += ["--host", scoring, "--html", str(folder / "report.html"), "--json", str(result)]
    console.print(
        f"{options.rate:g} requests per second for {options.seconds:g} s, {options.candidates}"
        f" candidates each, {size} items known, {options.new_per_second:g} new ones per second,"
        f" Zipf exponent {options.zipf:g}"
    )
    return subprocess.run(command, check=False).returncode


class _IdleCores:
    """How much of the machine nobody used since this was made."""

    def __init__(self) -> None:
        self._before = self._read()

    def share(self) -> float:
        """Return the share of CPU time, of all cores, in which nothing ran."""
        spent = [now - then for now, then in zip(self._read(), self._before, strict=True)]
        return (spent[3] + spent[4]) / max(1, sum(spent))

    @staticmethod
    def _read() -> list[int]:
        # man proc_stat: user, nice, system, idle, iowait, irq, softirq, steal; then guests, which
        # user and nice contain.
        line = Path("/proc/stat").read_text("ascii").partition("\n")[0]
        return [int(part) for part in line.split()[1:9]]


def _inline(
    options: argparse.Namespace, scorer: Scorer, repository: Path, size: int
) -> InlineTimes | None:
    if options.inline_requests < 1:
        return None
    console.print(f"the same with inline towers: {options.inline_requests} requests …")
    rng = np.random.default_rng(options.seed)
    requests = [
        rng.choice(size, options.candidates, replace=False).tolist()
        for _ in range(options.inline_requests)
    ]
    return InlineTowers(scorer, repository).measure(requests)


def _conclude(measured: dict[str, Any], inline: InlineTimes | None, result: Path) -> None:
    figures = measured["all"]
    p50_ms = figures["latency_ms"]["p50"]
    if inline is not None and p50_ms is not None:
        ratio = inline.request_ms / p50_ms
        measured["inline"] = {**vars(inline), "ratio_to_p50": ratio}
        console.print(
            f"inline: {inline.request_ms:.0f} ms a request (median of {inline.requests}; text"
            f" {inline.text_way}, image {inline.image_way}), with EmbArk {p50_ms:.1f} ms:"
            f" {ratio:.0f} times faster"
        )
    result.write_text(json.dumps(measured, indent=2), "utf-8")
    for model, statuses in figures["items"].items():
        total = sum(statuses.values())
        shares = ", ".join(f"{name} {count / total:.3%}" for name, count in statuses.items())
        console.print(f"{model}: {shares}")
    console.print(f"{os.cpu_count()} cores, idle for {measured['idle_cpu']:.0%} of the load")
    if measured["idle_cpu"] < _BUSY:
        console.print(
            "the cores had hardly anything left: latencies contain waiting for one; what else runs"
            " here counts too"
        )
    console.print(f"figures: {result}; page: {result.parent / 'report.html'}")
    verdict = "met" if measured["met"] else "MISSED"
    console.print(f"the objective is {verdict}")
