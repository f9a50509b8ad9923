"""Consumers beside Triton alone: requests through Kafka and into Cassandra, against perf_analyzer.

In each round a queue is filled while no consumer runs; then one consumer process empties it, and
its throughput is that between the first record's time of writing and the last's. perf_analyzer
sends the same inputs to the same Triton in the same batches, with as many in flight as the consumer
may have. Before all rounds Cassandra is asked what consumers ask of it, until Java has compiled
that: on two cores its compiler would take from Triton, as it does in no archive that runs for long.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from benchmarks.gateway.cluster import settings_on, start_cluster
from benchmarks.gateway.options import Options
from benchmarks.gateway.peers.triton import RETINA, start_triton
from benchmarks.gateway.place import Place, Stopped
from benchmarks.gateway.results import Figure, Results
from benchmarks.gateway.workload import Inputs, model_of, records
from embark.archive import MISSING, Archive
from embark.backends import Backends, open_backends
from embark.child import Child
from embark.cluster.local import Addresses
from embark.codec import Embedding
from embark.config import Configuration, to_environment
from embark.errors import ConfigurationError, EmbArkError
from embark.inputs import Input, InputKind, Modality
from embark.keys import DIGEST_BYTES, Key, digest
from embark.models import Model
from embark.queue.base import Lane, Request
from embark.sources import Source, Sources
from embark.triton import Command
from export.tuning.fetch import fetch
from export.tuning.inputs import write_inputs
from export.tuning.perf_analyzer import PerfAnalyzer, parse_report, prepare

NAME = "consumers"
THROUGH, ALONE = "through Kafka and consumer, inputs/s", "Triton alone, inputs/s"

_KINDS = {Modality.TEXT: InputKind.TEXT, Modality.IMAGE: InputKind.IMAGE}
_WARMING = 20_000
_QUICK_WARMING = 64
_INPUTS = {Modality.TEXT: 1000, Modality.IMAGE: 80}
_QUICK_INPUTS = {Modality.TEXT: 64, Modality.IMAGE: 8}
_READ_SECONDS = 10.0
_DRAIN_SECONDS = 180
_STOP_SECONDS = 30
_PERF_SECONDS = 120
_ROUNDS = 3


@dataclass(frozen=True)
class _Bench:
    """What all rounds share."""

    place: Place
    configuration: Configuration
    backends: Backends
    grpc: str
    analyzer: PerfAnalyzer


def measure(place: Place, options: Options, addresses: Addresses | None = None) -> Results:
    """Measure texts and images.

    Args:
        place: where.
        options: how much; three rounds, which are long, unless it is a quick run.
        addresses: a cluster that runs; None starts one.
    """
    rounds = options.rounds if options.quick else _ROUNDS
    results = Results(NAME, rounds)
    configuration = settings_on(addresses or start_cluster(place), place)
    analyzer = _perf_analyzer(place)
    grpc = start_triton(place, cached=False).grpc
    with closing(open_backends(configuration.settings)) as backends:
        bench = _Bench(place, configuration, backends, grpc, analyzer)
        _warm(bench, _QUICK_WARMING if options.quick else _WARMING)
        for modality, count in (_QUICK_INPUTS if options.quick else _INPUTS).items():
            through, alone = _rounds(bench, model_of(modality), count, rounds)
            case = {"modality": modality.value}
            results.figures.append(Figure(case, THROUGH, through))
            results.figures.append(Figure(case, ALONE, alone))
    return results


def _warm(bench: _Bench, count: int) -> None:
    """Read and write as a consumer does, batch by batch, things that nobody asks for again."""
    model = model_of(Modality.TEXT)
    sources = Sources(bench.backends.ledger, bench.configuration.settings.archive.sources)
    source = Source(InputKind.TEXT, b"a text that is as long as texts are, for the most part")
    batch = bench.configuration.settings.consumer.text_batch
    rng = np.random.default_rng(0)
    bench.place.report(f"warming Cassandra with {count} vectors")
    for _ in range(0, count, batch):
        digests = [rng.bytes(DIGEST_BYTES) for _ in range(batch)]
        bench.backends.store.get_many(model.name, model.generation, digests, _READ_SECONDS)
        sources.remember(model.name, dict.fromkeys(digests, source))
        bench.backends.store.put_many(model.name, model.generation, records(model, digests, rng))


def _rounds(
    bench: _Bench, model: Model, count: int, rounds: int
) -> tuple[list[float], list[float]]:
    inputs = Inputs(model, count * (rounds + 1))
    fresh = _cut(inputs.known, count)
    # The first round's requests are the encoder's first, and are not counted.
    _through(bench, model, next(fresh)[: max(4, count // 8)])
    through, alone = [], []
    for number in range(rounds):
        payloads = next(fresh)
        # Who goes first changes, as a machine may slow down within a round.
        if number % 2 == 0:
            through.append(_through(bench, model, payloads))
        alone.append(_alone(bench, model, payloads))
        if number % 2 == 1:
            through.append(_through(bench, model, payloads))
        bench.place.report(
            f"{model.name}: {through[-1]:.1f} inputs/s through, {alone[-1]:.1f} alone"
        )
    return through, alone


def _cut(payloads: list[bytes], size: int) -> Iterator[list[bytes]]:
    for start in range(0, len(payloads), size):
        yield payloads[start : start + size]


def _through(bench: _Bench, model: Model, payloads: list[bytes]) -> float:
    """Queue inputs, have a consumer compute them, and return how many it wrote in a second."""
    kind = _KINDS[model.facts.modality]
    items = [Input(kind, payload) for payload in payloads]
    keys = [Key(model.name, model.generation, digest(item)) for item in items]
    bench.backends.queue.put(
        [Request(key, item, Lane.BULK) for key, item in zip(keys, items, strict=True)]
    )
    environment = {
        **os.environ,
        **to_environment(bench.configuration),
        "EMBARK_RETINA__URL": bench.grpc,
        "EMBARK_LOG__LEVEL": "warning",
    }
    log = bench.place.folder / "logs" / "consumer.log"
    command = Command([sys.executable, "-m", "consumers"], environment)
    consumer = Child("consumer", command, log, lambda line: None)
    consumer.start()
    try:
        written = _written(bench, model, [key.digest for key in keys], consumer)
    finally:
        consumer.stop(_STOP_SECONDS)
    # The first batch's time of computing is not between the two.
    first = sum(one == written[0] for one in written)
    return (len(written) - first) / max(1e-3, (written[-1] - written[0]) / 1000)


def _written(bench: _Bench, model: Model, digests: list[bytes], consumer: Child) -> list[int]:
    """Wait until all are in the archive; returns when each was written, in order."""
    archive = Archive(bench.backends.store)
    deadline = time.monotonic() + _DRAIN_SECONDS
    missing, written = digests, list[int]()
    while missing:
        if time.monotonic() > deadline or consumer.pid is None:
            raise Stopped(f"{len(missing)} of {len(digests)} inputs were not computed")
        time.sleep(0.2)
        # The last one first: reading them all again and again would take from the consumer.
        if archive.get_many(model, missing[-1:], _READ_SECONDS)[0] is MISSING:
            continue
        found = archive.get_many(model, missing, _READ_SECONDS)
        written += [one.written_ms for one in found if isinstance(one, Embedding)]
        missing = [
            name for name, one in zip(missing, found, strict=True) if not isinstance(one, Embedding)
        ]
    return sorted(written)


def _alone(bench: _Bench, model: Model, payloads: list[bytes]) -> float:
    """Have perf_analyzer send the inputs, and return how many Triton computed in a second."""
    modality = model.facts.modality
    consumer = bench.configuration.settings.consumer
    batch = consumer.text_batch if modality is Modality.TEXT else 1
    requests = len(payloads) // batch
    # perf_analyzer wants no more in flight than there are in all.
    in_flight = min(consumer.inferences, consumer.max_bulk_in_flight // batch, requests)
    folder = bench.place.folder / "perf"
    folder.mkdir(exist_ok=True)
    inputs, report = folder / "inputs.json", folder / "report.csv"
    write_inputs(inputs, modality, payloads)
    report.unlink(missing_ok=True)
    flags = {
        "-i": "grpc",
        "-u": bench.grpc,
        "-m": model.name,
        "-b": batch,
        "--input-data": inputs,
        "--concurrency-range": in_flight,
        "--request-count": requests,
        "--percentile": 99,
        "-f": report,
    }
    arguments = [str(part) for flag in flags.items() for part in flag]
    try:
        done = bench.analyzer.run(arguments, _PERF_SECONDS)
        if done.returncode != 0:
            raise Stopped(f"perf_analyzer: {done.stdout[-300:]}")
        (measured,) = parse_report(report.read_text("utf-8"))
    except (EmbArkError, OSError, ValueError) as error:
        raise Stopped(f"perf_analyzer: {error}") from error
    return measured.throughput


def _perf_analyzer(place: Place) -> PerfAnalyzer:
    try:
        return prepare(fetch().absolute(), RETINA, place.folder / "libraries")
    except ConfigurationError as error:
        raise Stopped(f"perf_analyzer: {error.message}") from error
