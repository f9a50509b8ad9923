"""L1 as lookups see it: vectors by generation and digest, within one budget of bytes.

Every generation has an arena of its own; they share the budget by how much is asked of each. Of
what was invalidated only what was written later is taken in, for as long as the log of
invalidations is kept, so that a vector that was read just before, or from a replica that lags
behind, does not come back. Not for reading the archive.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from embark.inputs import Modality
from embark.keys import DIGEST_BYTES
from embark.log import Seldom, logger
from embark.metrics import L1_BYTES, L1_EVICTIONS, L1_ROWS
from embark.models import Model
from gateway.l1.arena import Arena, Times, Vectors, row_bytes
from gateway.l1.bars import Bars
from gateway.l1.index import Mask, Words

Digests = npt.NDArray[np.uint8]
"""Digests, shape (n, 16)."""

_BLOCK_BYTES = 2**20
_LEAST_BLOCKS = 16
_WRITTEN_AT_ONCE = 1024
_FADING_SECONDS = 60
_IMAGES_STAY_SECONDS = 15

_log = logger(__name__)

_Name = tuple[str, str]


def packed(digests: Iterable[bytes]) -> Digests:
    """Return digests as one array."""
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST_BYTES)


@dataclass(frozen=True, slots=True)
class Held:
    """What L1 has of some digests.

    Attributes:
        vectors: shape (n, dimension), the out-of-vocabulary vector where there is none.
        found: which are there, shape (n,).
        written_ms: when their records were written, milliseconds since 1970, shape (n,).
    """

    vectors: Vectors
    found: Mask
    written_ms: Times


class L1:
    """The cache of one gateway process. Safe for many threads.

    Args:
        max_bytes: most memory for vectors and what belongs to them; 0 keeps nothing.
        images_change: whether vectors of image URLs are replaced in the archive as images change;
            then those of image models are soon read there again.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        max_bytes: int,
        *,
        images_change: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_bytes: Final = max_bytes
        self._images_change: Final = images_change
        self._clock: Final = clock
        self._started: Final = clock()
        self._lock = threading.Lock()
        self._arenas: dict[_Name, Arena] = {}
        self._bars: dict[_Name, Bars] = {}
        self._faded_at = self._started
        self._seldom = Seldom()

    def get_many(self, model: Model, digests: Digests, *, of_any_age: bool = False) -> Held:
        """Return what is held of contiguous digests, in the order asked; they may repeat.

        Args:
            model: the generation.
            digests: shape (n, 16).
            of_any_age: also what is old enough to be read from the archive again.
        """
        words: Words = digests.view(np.uint64)
        vectors: Vectors = np.empty((len(words), model.facts.dimension), model.facts.dtype)
        with self._lock:
            arena = self._arenas.get((model.name, model.generation))
            if arena is None:
                found, written_ms = np.zeros(len(words), np.bool_), np.zeros(len(words), np.int64)
            else:
                arena.asked += len(words)
                entered_from_s = 0 if of_any_age else self._entered_from_s(model)
                found, written_ms = arena.read(words, entered_from_s, vectors)
        if np.count_nonzero(found) < len(found):
            vectors[~found] = model.oov
        return Held(vectors, found, written_ms)

    def put_many(self, model: Model, digests: Digests, vectors: Vectors, written_ms: Times) -> None:
        """Keep vectors; only those that the archive holds under exactly these keys.

        Args:
            model: the generation.
            digests: contiguous; may repeat.
            vectors: shape (n, dimension).
            written_ms: shape (n,).
        """
        name = (model.name, model.generation)
        with self._lock:
            arena = self._arenas.get(name)
            if arena is None:
                arena = self._add_arena(model)
            if arena is None:
                return
            kept = self._admitted(name, digests, written_ms)
            before = arena.evicted
            words: Words = digests[kept].view(np.uint64)
            vectors, written_ms = vectors[kept], written_ms[kept]
            start = 0
            while start < len(words):
                step = self._make_room(arena, len(words) - start)
                if not step:
                    break
                part = slice(start, start + step)
                arena.write(words[part], vectors[part], written_ms[part], self._now_s())
                start += step
            L1_EVICTIONS.labels(model=model.name).inc(arena.evicted - before)
            self._report(model.name)

    def forget(
        self, model: str, generation: str, digests: Collection[bytes] | None, noted_ms: int
    ) -> None:
        """Drop vectors, and for a while take in only those of them that were written later.

        Args:
            model: public model name.
            generation: of which generation.
            digests: of which inputs; None for all.
            noted_ms: later than this, milliseconds since 1970.
        """
        name = (model, generation)
        with self._lock:
            bars = self._bars.setdefault(name, Bars())
            digests = bars.put(digests, noted_ms, self._clock())
            arena = self._arenas.get(name)
            if arena is not None and digests is None:
                del self._arenas[name]
            elif arena is not None and digests:
                arena.forget(packed(digests).view(np.uint64))
            self._report(model)

    def keep_only(self, served: Collection[_Name]) -> None:
        """Drop every generation that is not named, and bars that have ended."""
        with self._lock:
            for name in self._arenas.keys() - set(served):
                del self._arenas[name]
                self._report(name[0])
            for bars in self._bars.values():
                bars.end(self._clock())

    def drop(self, model: str) -> None:
        """Drop every generation of a model."""
        with self._lock:
            self._arenas = {name: one for name, one in self._arenas.items() if name[0] != model}
            self._report(model)

    def room(self, model: Model) -> int:
        """Return how many vectors of a model the whole budget holds."""
        return self.max_bytes // row_bytes(model.facts.dimension, model.facts.dtype)

    @property
    def used_bytes(self) -> int:
        """How much of the budget is given out."""
        return sum(arena.used_bytes for arena in self._arenas.values())

    @property
    def _vectors_bytes(self) -> int:
        """How much of the budget there is for vectors, and the fixed part of further arenas."""
        return self.max_bytes - sum(arena.fixed_bytes for arena in self._arenas.values())

    def _now_s(self) -> int:
        # From 1 on: 0 is the oldest there can be.
        return int(self._clock() - self._started) + 1

    def _entered_from_s(self, model: Model) -> int:
        if self._images_change and model.facts.modality is Modality.IMAGE:
            # The second that a row entered in has begun by up to one before it.
            return max(0, self._now_s() - _IMAGES_STAY_SECONDS + 1)
        return 0

    def _add_arena(self, model: Model) -> Arena | None:
        rows = self._vectors_bytes // row_bytes(model.facts.dimension, model.facts.dtype)
        if rows == 0:
            return None
        try:
            arena = Arena(model.facts.dimension, model.facts.dtype, rows)
        except (OSError, MemoryError) as error:
            # A system that promises no more memory than it has; lookups go on without.
            if self._seldom.due():
                _log.error("l1_without_memory", model=model.name, reason=str(error))
            return None
        self._arenas[model.name, model.generation] = arena
        while self.used_bytes > self.max_bytes:
            poorest = min(self._arenas.values(), key=_demand)
            over_bytes = self.used_bytes - self.max_bytes
            poorest.shrink(-(-over_bytes // poorest.vector_bytes))
        return arena

    def _admitted(self, name: _Name, digests: Digests, written_ms: Times) -> npt.NDArray[np.intp]:
        """Return the positions to keep: one of each digest, the last, and none that is barred."""
        _, last = np.unique(digests[::-1].view(f"V{DIGEST_BYTES}").ravel(), return_index=True)
        positions = np.sort(len(digests) - 1 - last)
        bars = self._bars.get(name)
        if not bars:
            return positions
        return positions[bars.admit(digests[positions], written_ms[positions])]

    def _make_room(self, arena: Arena, wanted: int) -> int:
        """Give an arena what it needs for `wanted` more rows, or some; returns for how many."""
        while len(arena) + wanted > arena.capacity and self._grow(arena):
            pass
        # A batch may push out no more than an eighth, lest it pushes itself out.
        most = max(1, arena.capacity // 8) if arena.capacity else 0
        return min(wanted, _WRITTEN_AT_ONCE, most)

    def _block(self, arena: Arena) -> int:
        """Return how many rows are given and taken at once."""
        block_bytes = min(_BLOCK_BYTES, self._vectors_bytes // _LEAST_BLOCKS)
        return max(1, block_bytes // arena.vector_bytes)

    def _grow(self, arena: Arena) -> bool:
        """Give an arena a block more, another's if none is left; returns whether it got one."""
        block = min(self._block(arena), arena.rows - arena.capacity)
        if block <= 0:
            return False
        self._fade()
        while self.used_bytes + block * arena.vector_bytes > self.max_bytes:
            poorest = min(self._arenas.values(), key=_demand)
            # Only from who has far more than its share, so that blocks do not go to and fro.
            has_none = not poorest.capacity
            if poorest is arena or has_none or _demand(poorest) * 2 > _demand(arena):
                return False
            poorest.shrink(self._block(poorest))
        arena.capacity += block
        return True

    def _fade(self) -> None:
        """Halve what was asked, every minute, so that it says what is asked lately."""
        now = self._clock()
        if now - self._faded_at > _FADING_SECONDS:
            self._faded_at = now
            for arena in self._arenas.values():
                arena.asked /= 2

    def _report(self, model: str) -> None:
        arenas = [arena for (name, _), arena in self._arenas.items() if name == model]
        L1_ROWS.labels(model=model).set(sum(len(arena) for arena in arenas))
        L1_BYTES.labels(model=model).set(sum(one.used_bytes for one in arenas))


def _demand(arena: Arena) -> float:
    """How much is asked of an arena for each byte that it has; one without bytes has most."""
    return arena.asked / (arena.capacity * arena.vector_bytes) if arena.capacity else float("inf")
