"""What it costs to grow: bytes of memory and disk a vector, and what a lookup then takes.

At each size an embedded archive of so many vectors is written; a gateway of one process then reads
as many as its memory may hold, and what that adds to its own memory (anonymous pages: not the
mapped archive) is divided by their number. Lookups of 100 keys are drawn from all. 10 million
vectors are short and written in the order of their keys, which packs pages better than writing them
as they come: else that would take longer than all other parts together.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil

from benchmarks.drawn import drawn_facts
from benchmarks.gateway.clients import Call, ClientFailed
from benchmarks.gateway.options import Options
from benchmarks.gateway.peers.base import http_call, post
from benchmarks.gateway.peers.embark import KEYS_HEADERS, NO_L1, keys_path, start_gateway
from benchmarks.gateway.place import Place, Stopped
from benchmarks.gateway.results import Figure, Results
from benchmarks.gateway.subjects import Calls, fill_archive, note, take_turns
from embark.keys import DIGEST_BYTES
from embark.models import FACTS_FILE, Model, load_catalogue

NAME = "growth"
DISK, MEMORY, OWN = "disk, bytes a vector", "L1, bytes a vector", "vector, bytes"
HOT, COLD = "EmbArk, keys, in L1", "EmbArk, keys, from the archive"
BATCH = 100

_DIMENSION = 384
_SHORT_DIMENSION = 32
_SHORT_FROM = 10_000_000
_SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
_QUICK_SIZES = (2_000,)
_IN_MEMORY = 1_000_000
_READ_AT_ONCE = 1000
_REQUESTS = 200
_L1_BYTES = 2 * 2**30
_FREE_BYTES = 4 * 2**30
_RECORD_BYTES = 200
_MODEL = "bench"


Digests = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Archive:
    """An archive of one size.

    Attributes:
        model: whose vectors.
        repository: where the model is described.
        data: folder.
        digests: of all vectors, shape (n, 16).
    """

    model: Model
    repository: Path
    data: Path
    digests: Digests


def measure(place: Place, options: Options) -> Results:
    """Measure every size up to the option's."""
    results = Results(NAME, options.rounds)
    for size in _QUICK_SIZES if options.quick else _SIZES:
        if size > options.vectors:
            note(results, f"{size} vectors: left out, --vectors is {options.vectors}")
            continue
        dimension = _SHORT_DIMENSION if size >= _SHORT_FROM else _DIMENSION
        needed = 2 * size * (2 * dimension + _RECORD_BYTES) + _FREE_BYTES
        if shutil.disk_usage(place.folder).free < needed:
            note(results, f"{size} vectors: left out, needs {needed >> 30} GiB of disk")
            continue
        _measure_size(place, results, size, dimension, options)
    return results


def _measure_size(
    place: Place, results: Results, size: int, dimension: int, options: Options
) -> None:
    place.report(f"writing {size} vectors of {dimension} numbers")
    folder = place.folder / f"{size}"
    archive = _write(folder, size, dimension)
    case = {"vectors": size, "dimension": dimension}
    own = archive.model.facts.dimension * archive.model.oov.dtype.itemsize
    used = sum(file.stat().st_blocks * 512 for file in archive.data.rglob("*") if file.is_file())
    results.figures.append(Figure(case, OWN, [own]))
    results.figures.append(Figure(case, DISK, [used / size]))
    settings = {"RETINA__MODEL_REPOSITORY": str(archive.repository), "GATEWAY__PROCESSES": "1"}
    held = min(size, _IN_MEMORY)
    hot = _start(place, f"hot-{size}", archive, {**settings, "GATEWAY__L1__MAX_BYTES": _L1_BYTES})
    _read(place, hot, archive, min(held, 1000))
    before = _memory(place, f"hot-{size}")
    _read(place, hot, archive, held)
    added = _memory(place, f"hot-{size}") - before
    if held > 1000:
        results.figures.append(Figure(case, MEMORY, [added / (held - 1000)]))
    cold = _start(place, f"cold-{size}", archive, {**settings, **NO_L1})
    rng = np.random.default_rng(1)
    calls = {HOT: _calls(hot, archive, held, rng), COLD: _calls(cold, archive, size, rng)}
    take_turns(place, results, {**case, "keys": BATCH}, calls, options)
    for name in (f"hot-{size}", f"cold-{size}"):
        place.stop(name)
    shutil.rmtree(folder)


def _write(folder: Path, size: int, dimension: int) -> _Archive:
    facts = drawn_facts(_MODEL, dimension)
    repository = folder / "models"
    (repository / _MODEL / "1").mkdir(parents=True)
    (repository / _MODEL / "1" / FACTS_FILE).write_text(facts.model_dump_json(), "utf-8")
    model = load_catalogue(repository)[_MODEL]
    rng = np.random.default_rng(0)
    digests = rng.integers(0, 256, (size, DIGEST_BYTES), np.uint8)
    if size >= _SHORT_FROM:
        # Pages are then written once, not by nearly every transaction.
        first, second = digests.view(">u8").astype(np.uint64).T
        digests = digests[np.lexsort((second, first))]
    fill_archive(folder / "data", model, _rows(digests))
    mixed = digests[rng.permutation(size)]
    return _Archive(model, repository.absolute(), folder / "data", mixed)


def _rows(digests: Digests) -> Iterator[bytes]:
    for start in range(0, len(digests), _READ_AT_ONCE):
        some = digests[start : start + _READ_AT_ONCE].tobytes()
        for at in range(0, len(some), DIGEST_BYTES):
            yield some[at : at + DIGEST_BYTES]


def _start(place: Place, name: str, archive: _Archive, settings: dict[str, object]) -> int:
    given = {key: str(value) for key, value in settings.items()}
    return start_gateway(place, name, archive.data, given)


def _request(archive: _Archive, digests: Digests) -> bytes:
    return post(keys_path(archive.model), digests.tobytes(), KEYS_HEADERS)


def _read(place: Place, port: int, archive: _Archive, count: int) -> None:
    """Have the gateway read the first `count` vectors, twice: a cache may not take all at once."""
    requests = [
        _request(archive, archive.digests[start : start + _READ_AT_ONCE])
        for start in range(0, count, _READ_AT_ONCE)
    ]
    call = replace(http_call(port, requests), warm_up=2 * len(requests))
    try:
        place.clients.warm([call])
    except ClientFailed as error:
        raise Stopped(f"the gateway answers keys with {error}") from error


def _memory(place: Place, name: str) -> int:
    """Return the anonymous memory of a gateway's processes."""
    pid = place.servers[name].pid
    assert pid is not None
    processes = psutil.Process(pid).children(recursive=True)
    return sum(_anonymous(process.pid) for process in processes)


def _anonymous(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith("RssAnon:"))
    return 1024 * int(line.split()[1])


def _calls(port: int, archive: _Archive, most: int, rng: np.random.Generator) -> Calls:
    requests = [
        _request(archive, archive.digests[rng.integers(0, most, BATCH)]) for _ in range(_REQUESTS)
    ]
    call: Call = http_call(port, requests)
    return lambda number: [call]
