"""Coverage: how much of what is asked a generation can answer, and how far its vectors moved.

Weighed by traffic: an input that is asked a thousand times counts a thousand times. Read before a
promotion; changes nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embark.archive import LATE, Answer, Archive
from embark.backends import Backends
from embark.codec import Embedding, Failure
from embark.errors import ArchiveUnavailable
from embark.models import Model
from embark.sources import Sources
from embark.usage import read_usage

_CHUNK = 500
_TIMEOUT_SECONDS = 10.0
_ASKED_AGAIN = 2
_NEIGHBOURS = 10
_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Coverage:
    """What a generation has of what the live one has.

    Attributes:
        inputs: inputs of which the live generation has a vector: those that the archive knows or
            counts uses of; if it does of none, every one there is.
        covered: those of which this generation has one too.
        failed: those that failed under this generation.
        uses: how often the inputs were asked, as far back as that is counted.
        covered_uses: how often the covered ones were.
    """

    inputs: int
    covered: int
    failed: int
    uses: float
    covered_uses: float

    @property
    def share(self) -> float:
        """The part of the traffic that is covered, of the inputs where no traffic is counted."""
        if self.uses:
            return self.covered_uses / self.uses
        return self.covered / self.inputs if self.inputs else 1.0


@dataclass(frozen=True)
class Drift:
    """How vectors differ between two generations, over a sample of inputs.

    Attributes:
        inputs: how many the sample has.
        cosine_mean, cosine_low: mean, and the fifth percentile, of the cosine between the old and
            the new vector of an input; None where the dimensions differ.
        neighbours: mean share of an input's 10 nearest others, by cosine within the sample, that
            are the same under both; None for fewer than 20 inputs.
    """

    inputs: int
    cosine_mean: float | None
    cosine_low: float | None
    neighbours: float | None


def coverage(
    backends: Backends,
    live: Model,
    model: Model,
    report: Callable[[int], None] = lambda seen: None,
    *,
    lists_unknown: bool = True,
) -> Coverage:
    """Compare what `model` has with what `live` has.

    Args:
        backends: archive and ledger.
        live: the generation that lookups are answered with.
        model: the generation that is to follow it.
        report: told how many inputs are looked at so far.
        lists_unknown: if no input is known, list all that the live generation has, which takes
            Cassandra as long as its whole table is; else there is nothing to cover.

    Raises:
        ArchiveUnavailable: the archive could not be read, or is late again and again.
    """
    usage = read_usage(backends.ledger, model.name)
    known = _known(backends, model.name, usage)
    found = _compare(backends, live, model, known, usage=usage, report=report)
    if found.inputs or not lists_unknown:
        return found
    # Nothing is remembered, which must not pass for everything being covered.
    pages = backends.store.digests(live.name, live.generation)
    return _compare(backends, live, model, pages, usage=usage, report=report)


def _compare(
    backends: Backends,
    live: Model,
    model: Model,
    chunks: Iterable[Sequence[bytes]],
    *,
    usage: Mapping[bytes, float],
    report: Callable[[int], None],
) -> Coverage:
    archive = Archive(backends.store)
    inputs = covered = failed = seen = 0
    uses = covered_uses = 0.0
    for chunk in chunks:
        there = _records(archive, model, chunk)
        for digest, old, new in zip(chunk, _records(archive, live, chunk), there, strict=True):
            if not isinstance(old, Embedding):
                continue
            inputs += 1
            uses += usage.get(digest, 0.0)
            failed += isinstance(new, Failure)
            if isinstance(new, Embedding):
                covered += 1
                covered_uses += usage.get(digest, 0.0)
        seen += len(chunk)
        report(seen)
    return Coverage(inputs, covered, failed, uses, covered_uses)


def drift(backends: Backends, live: Model, model: Model, most: int) -> Drift:
    """Compare the vectors of up to `most` inputs, the most used ones.

    Raises:
        ArchiveUnavailable: the archive could not be read, or is late again and again.
    """
    archive, usage = Archive(backends.store), read_usage(backends.ledger, model.name)
    by_use = sorted(usage, key=lambda digest: -usage[digest])
    rest = (digest for page in Sources(backends.ledger).digests(model.name) for digest in page)
    candidates = itertools.chain(by_use, (digest for digest in rest if digest not in usage))
    pairs: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]] = []
    for chunk in _chunks(itertools.islice(candidates, 10 * most)):
        olds, news = _records(archive, live, chunk), _records(archive, model, chunk)
        pairs += [
            (old.vector.astype(np.float32), new.vector.astype(np.float32))
            for old, new in zip(olds, news, strict=True)
            if isinstance(old, Embedding) and isinstance(new, Embedding)
        ]
        if len(pairs) >= most:
            break
    return _drift(pairs[:most])


def _drift(pairs: Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]) -> Drift:
    if not pairs:
        return Drift(0, None, None, None)
    olds, news = (_unit(np.stack(side)) for side in zip(*pairs, strict=True))
    mean = low = None
    if olds.shape == news.shape:
        cosines = (olds * news).sum(axis=1)
        mean, low = float(cosines.mean()), float(np.percentile(cosines, 5))
    if len(pairs) < 2 * _NEIGHBOURS:
        return Drift(len(pairs), mean, low, None)
    shared = [
        len(set(old) & set(new)) / _NEIGHBOURS
        for old, new in zip(_nearest(olds), _nearest(news), strict=True)
    ]
    return Drift(len(pairs), mean, low, float(np.mean(shared)))


def _unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, np.finfo(np.float32).tiny), np.float32)


def _nearest(vectors: npt.NDArray[np.float32]) -> list[list[int]]:
    """Return for each row the positions of the nearest others."""
    nearest: list[list[int]] = []
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        similar = vectors[start : start + _ROWS_AT_ONCE] @ vectors.T
        rows = np.arange(len(similar))
        similar[rows, start + rows] = -np.inf
        nearest += np.argpartition(-similar, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS].tolist()
    return nearest


def _known(backends: Backends, name: str, usage: dict[bytes, float]) -> Iterator[list[bytes]]:
    """Yield the digests of inputs that are known or were asked, each once."""
    sources = Sources(backends.ledger).digests(name)
    asked = set(usage)
    for page in sources:
        asked.difference_update(page)
        yield from _chunks(page)
    yield from _chunks(asked)


def _chunks(digests: Iterable[bytes]) -> Iterator[list[bytes]]:
    remaining = iter(digests)
    while chunk := list(itertools.islice(remaining, _CHUNK)):
        yield chunk


def _records(archive: Archive, model: Model, digests: Sequence[bytes]) -> Sequence[Answer]:
    """Return the records, in the order asked; what comes late is asked again.

    Raises:
        ArchiveUnavailable: it could not be read, or stays late.
    """
    records = dict(zip(digests, archive.get_many(model, digests, _TIMEOUT_SECONDS), strict=True))
    for _ in range(_ASKED_AGAIN):
        late = [digest for digest, record in records.items() if record is LATE]
        if not late:
            break
        records |= zip(late, archive.get_many(model, late, _TIMEOUT_SECONDS), strict=True)
    if LATE in records.values():
        raise ArchiveUnavailable(
            f"some of {len(digests)} records of {model.name} {model.generation} did not come, asked"
            f" {1 + _ASKED_AGAIN} times for {_TIMEOUT_SECONDS:g} s each; run it again"
        )
    return [records[digest] for digest in digests]
