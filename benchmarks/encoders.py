"""How fast an encoder runs in each way it can be compiled, and what that costs in agreement.

`python -m benchmarks.encoders minilm inception_v3`: PyTorch, torch.compile, ONNX Runtime in float32
as it comes, rewritten and in int8, OpenVINO in bfloat16; with an NVIDIA GPU also PyTorch,
torch.compile, ONNX Runtime and TensorRT on it. Ways take turns in every round. The ratio is to ONNX
Runtime in float32 in the same round. Agreement is with PyTorch on inputs held back from
calibration. Figures of one run compare with each other, not with those of another machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.encoder_inputs import pictures, sentences
from benchmarks.encoder_ways import BASELINE, Run, Subject, Tensors, ways_of
from embark.inputs import Modality
from export import graph
from export.encoders import ENCODERS, find
from export.encoders.base import Encoder
from export.verification import cosines, neighbours

INPUTS = 120
CALIBRATION = 32
BATCH = 8

console = Console(highlight=False, stderr=True)


@dataclass(frozen=True)
class Point:
    """What is given to every way: inputs in a batch, and tokens in an input (0 for images)."""

    batch: int
    tokens: int


@dataclass(frozen=True)
class Speed:
    """One way at one point; `ratios` is to the baseline, one a round."""

    encoder: str
    way: str
    batch: int
    tokens: int
    per_second: float
    latency_p50_ms: float
    ratio: float
    ratios: list[float]


@dataclass(frozen=True)
class Agreement:
    """One way's vectors beside PyTorch's."""

    encoder: str
    way: str
    min_cosine: float
    mean_cosine: float
    neighbours_1: float
    neighbours_10: float


def measure(encoder: Encoder, args: argparse.Namespace) -> tuple[list[Agreement], list[Speed]]:
    """Return everything about one encoder."""
    module = graph.load_module(encoder, encoder.weights(args.weights))
    is_text = encoder.modality == Modality.TEXT
    if is_text:
        everything = sentences(INPUTS + CALIBRATION)
        payloads, calibration = everything[:INPUTS], everything[INPUTS:]
    else:
        payloads = pictures(INPUTS, held_back=True)
        calibration = pictures(CALIBRATION, held_back=False)
    prepared = graph.prepare(encoder, payloads)
    ranges = [encoder.preparer.collate([one]) for one in graph.prepare(encoder, calibration)]
    expected = graph.reference_vectors(encoder, module, prepared)
    with tempfile.TemporaryDirectory(prefix="embark-benchmark-") as folder:
        subject = Subject(encoder, module, Path(folder), ranges)
        agreements: list[Agreement] = []
        speeds: list[Speed] = []
        ways: dict[str, Run] = {}
        for name, make in ways_of(subject, args.skip, console.print).items():
            console.print(f"{encoder.name}: {name}")
            try:
                run = make()
                agreements.append(_agreement(encoder, name, run, prepared, expected))
            except Exception as error:
                if name == BASELINE:
                    raise
                console.print(f"{encoder.name}: {name} is left out: {error}", markup=False)
            else:
                ways[name] = run
        for batch in args.batches:
            for tokens in args.tokens if is_text else [0]:
                point = Point(batch, tokens)
                console.print(f"{encoder.name}: {point}")
                tensors = _tensors(encoder, prepared, point)
                latencies = _alternated(ways, tensors, args.rounds, args.seconds)
                speeds += _speeds(encoder.name, point, latencies)
    return agreements, speeds


def _agreement(
    encoder: Encoder, way: str, run: Run, prepared: Sequence[Any], expected: Any
) -> Agreement:
    found = np.empty_like(expected)
    for positions, _ in encoder.preparer.batches(prepared):
        for start in range(0, len(positions), BATCH):
            some = positions[start : start + BATCH]
            found[some] = run(encoder.preparer.collate([prepared[one] for one in some]))
    near = cosines(found, expected)
    return Agreement(
        encoder.name,
        way,
        float(near.min()),
        float(near.mean()),
        neighbours(found, expected, 1),
        neighbours(found, expected, 10),
    )


def _tensors(encoder: Encoder, prepared: Sequence[Any], point: Point) -> Tensors:
    if not point.tokens:
        return encoder.preparer.collate(prepared[: point.batch])
    tokens = [token for one in prepared for token in one]
    length = point.tokens
    rows = [tokens[row * length : (row + 1) * length] for row in range(point.batch)]
    return encoder.preparer.collate(rows)


def _speeds(name: str, point: Point, latencies: dict[str, list[list[float]]]) -> list[Speed]:
    base = [statistics.mean(one) for one in latencies[BASELINE]]
    speeds = []
    for way, rounds in latencies.items():
        means = [statistics.mean(one) for one in rounds]
        ratios = [slow / mean for slow, mean in zip(base, means, strict=True)]
        speeds.append(
            Speed(
                name,
                way,
                point.batch,
                point.tokens,
                per_second=point.batch / statistics.median(means),
                latency_p50_ms=1000 * statistics.median(chain.from_iterable(rounds)),
                ratio=statistics.median(ratios),
                ratios=ratios,
            )
        )
    return speeds


def _alternated(
    ways: dict[str, Run], tensors: Tensors, rounds: int, seconds: float
) -> dict[str, list[list[float]]]:
    """Return seconds of every run, by way and round."""
    latencies: dict[str, list[list[float]]] = {name: [] for name in ways}
    for run in ways.values():
        # The first run at a shape compiles or allocates.
        run(tensors)
    for _ in range(rounds):
        for name, run in ways.items():
            latencies[name].append(_latencies(run, tensors, seconds))
    return latencies


def _latencies(run: Run, tensors: Tensors, seconds: float) -> list[float]:
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        run(tensors)
        taken.append(time.perf_counter() - start)
    return taken


def show(agreements: Sequence[Agreement], speeds: Sequence[Speed]) -> None:
    """Print both tables."""
    table = Table("encoder", "way", "min cosine", "mean cosine", "same nearest", "of 10 nearest")
    for one in agreements:
        numbers = (one.min_cosine, one.mean_cosine, one.neighbours_1, one.neighbours_10)
        table.add_row(one.encoder, one.way, *(f"{number:.4f}" for number in numbers))
    Console().print(table)
    table = Table(
        "encoder", "way", "batch", "tokens", "items/s", "p50 ms", "ratio", "least to most"
    )
    for speed in speeds:
        table.add_row(
            speed.encoder,
            speed.way,
            str(speed.batch),
            str(speed.tokens or "-"),
            f"{speed.per_second:.1f}",
            f"{speed.latency_p50_ms:.1f}",
            f"{speed.ratio:.2f}",
            f"{min(speed.ratios):.2f} to {max(speed.ratios):.2f}",
        )
    Console().print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encoders", description=__doc__)
    parser.add_argument("encoders", nargs="*", choices=[*ENCODERS, []], metavar="ENCODER")
    parser.add_argument("--weights", default="auto", help="as in embark export")
    parser.add_argument("--batches", type=_numbers, default=[1, 8, 16], metavar="N,N")
    parser.add_argument("--tokens", type=_numbers, default=[16, 64, 128], metavar="N,N")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each way in each round")
    parser.add_argument("--skip", action="append", default=[], metavar="WAY")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    args = parser.parse_args(argv)
    agreements: list[Agreement] = []
    speeds: list[Speed] = []
    for name in args.encoders or ["minilm", "inception_v3"]:
        some = measure(find(name), args)
        agreements += some[0]
        speeds += some[1]
    show(agreements, speeds)
    if args.json is not None:
        figures = {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "agreements": [asdict(one) for one in agreements],
            "speeds": [asdict(one) for one in speeds],
        }
        args.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    return 0


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
