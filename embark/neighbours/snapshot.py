"""Snapshots: an index of one generation in a folder that never changes once it has its name.

    <folder>/<epoch>-<number>/graph.usearch   HNSW graph (usearch), float16, cosine
                              facts.json      what it is, with size and CRC-32 of the graph

A snapshot covers the journal of its epoch up to its number (`embark.store.lmdb_journal`). The key
of a vector in the graph is the first 8 bytes of its digest: whoever finds one looks the digests up
that begin so, and compares them all. Not for deciding when one is made: that is
`embark.neighbours.embedded`.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError
from usearch.index import BatchMatches, Index

from embark.neighbours.base import Matrix
from embark.store.lmdb_journal import Head
from embark.syncing import sync

KEY_BYTES: Final = 8

_LAYOUT = 1
_GRAPH, _FACTS = "graph.usearch", "facts.json"
_CONNECTIVITY = 16
_EXPANSION_ADD = 128
_EXPANSION_SEARCH = 128
_BLOCK_BYTES = 16 * 2**20

Keys = npt.NDArray[np.uint64]


class Facts(BaseModel):
    """The content of `facts.json`.

    Attributes:
        epoch: of the journal, hexadecimal.
        upto: number of the first entry of the journal that the snapshot does not cover.
        before: the same, of the snapshot that this one was made from.
        items: vectors in the graph.
        removed: vectors that were taken out since the graph was made from nothing.
        size: bytes of the graph's file.
        checksum: CRC-32 of it.
        made_s: when it was made, seconds since 1970.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: int
    epoch: str
    upto: int
    before: int
    dimension: int
    items: int
    removed: int
    size: int
    checksum: int
    made_s: float

    def continues(self, head: Head) -> bool:
        """Whether the journal goes on from this snapshot."""
        return self.epoch == head.epoch.hex() and self.upto <= head.end


class Snapshot:
    """A snapshot, mapped into memory; processes share its pages. Safe for many threads.

    Attributes:
        facts: what it is.
    """

    def __init__(self, facts: Facts, graph: Index) -> None:
        self.facts: Final = facts
        self._graph = graph
        # usearch gives each search the working memory of its thread's number, and each caller's
        # threads are numbered from 0.
        self._one_at_a_time = threading.Lock()

    def search(self, queries: Matrix, count: int) -> list[Keys]:
        """Return up to `count` keys for each query of shape (queries, dimension)."""
        if not self.facts.items:
            return [np.empty(0, np.uint64) for _ in queries]
        with self._one_at_a_time:
            matches = self._graph.search(np.ascontiguousarray(queries), count, threads=1)
        if not isinstance(matches, BatchMatches):
            return [matches.keys]
        return [keys[:found] for keys, found in zip(matches.keys, matches.counts, strict=True)]


def open_newest(folder: Path, head: Head, dimension: int) -> Snapshot | None:
    """Return the newest whole snapshot that the journal goes on from, None if there is none."""
    for path in _newest_first(folder):
        facts = read_facts(path)
        if facts is None or not facts.continues(head) or facts.dimension != dimension:
            continue
        if not is_whole(path, facts):
            continue
        try:
            graph = Index.restore(
                path / _GRAPH,
                view=True,
                connectivity=_CONNECTIVITY,
                expansion_search=_EXPANSION_SEARCH,
                enable_key_lookups=False,
            )
        except (OSError, RuntimeError):
            continue
        if graph is not None and graph.ndim == dimension:
            return Snapshot(facts, graph)
    return None


def newest_facts(folder: Path, head: Head) -> Facts | None:
    """Return what `open_newest` would open, without looking into the graph."""
    for path in _newest_first(folder):
        facts = read_facts(path)
        if facts is not None and facts.continues(head):
            return facts
    return None


def is_ahead(folder: Path, head: Head) -> bool:
    """Whether a snapshot knows entries that the journal does not have: the archive was put back."""
    found = (read_facts(path) for path in _newest_first(folder))
    return any(
        facts is not None and facts.epoch == head.epoch.hex() and facts.upto > head.end
        for facts in found
    )


def new_graph(dimension: int) -> Index:
    """Return an empty graph that can be changed."""
    return Index(
        ndim=dimension,
        metric="cos",
        dtype="f16",
        connectivity=_CONNECTIVITY,
        expansion_add=_EXPANSION_ADD,
    )


def load_graph(folder: Path, facts: Facts) -> Index | None:
    """Return a snapshot's graph as one that can be changed, None if it is damaged."""
    path = folder / _name(facts.epoch, facts.upto)
    if not is_whole(path, facts):
        return None
    try:
        graph = Index.restore(
            path / _GRAPH, connectivity=_CONNECTIVITY, expansion_add=_EXPANSION_ADD
        )
    except (OSError, RuntimeError):
        return None
    return graph if graph is not None and len(graph) == facts.items else None


def save(folder: Path, graph: Index, head: Head, before: int, removed: int) -> Facts:
    """Write a graph as a snapshot that covers the journal up to `head.end`; drop older ones.

    It has its name only when it is on disk whole.
    """
    name = _name(head.epoch.hex(), head.end)
    made = folder / f".{name}-{os.getpid()}"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    graph.save(str(made / _GRAPH))
    facts = Facts(
        layout=_LAYOUT,
        epoch=head.epoch.hex(),
        upto=head.end,
        before=before,
        dimension=graph.ndim,
        items=len(graph),
        removed=removed,
        size=(made / _GRAPH).stat().st_size,
        checksum=_checksum(made / _GRAPH),
        made_s=time.time(),
    )
    (made / _FACTS).write_text(facts.model_dump_json(), "utf-8")
    for path in (made / _GRAPH, made / _FACTS, made):
        sync(path)
    shutil.rmtree(folder / name, ignore_errors=True)
    made.rename(folder / name)
    sync(folder)
    for path in folder.iterdir():
        if path.is_dir() and path.name != name:
            shutil.rmtree(path, ignore_errors=True)
    return facts


def keys_of(digests: Sequence[bytes]) -> Keys:
    """Return the keys of digests, shape (digests,)."""
    return np.frombuffer(b"".join(digest[:KEY_BYTES] for digest in digests), "<u8")


def read_facts(path: Path) -> Facts | None:
    """Return what the snapshot in `path` says it is, None if it says nothing that can be read."""
    try:
        facts = Facts.model_validate_json((path / _FACTS).read_bytes())
    except (OSError, ValidationError):
        return None
    return facts if facts.layout == _LAYOUT else None


def is_whole(path: Path, facts: Facts) -> bool:
    """Whether a snapshot's graph is what was written."""
    try:
        graph = path / _GRAPH
        return graph.stat().st_size == facts.size and _checksum(graph) == facts.checksum
    except OSError:
        return False


def _newest_first(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return sorted(found, key=lambda path: path.name.rpartition("-")[2], reverse=True)


def _name(epoch: str, upto: int) -> str:
    return f"{epoch}-{upto:016x}"


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            checksum = zlib.crc32(block, checksum)
    return checksum
