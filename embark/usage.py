"""Usage: how often each input is asked, counted by gateways, read by filling and coverage.

A gateway process counts for a window of time and writes it as one record. A window that has seen
many different inputs halves its counts at random and from then on counts half of what comes, so
that its size is bounded and every input's expected count is right (binomial thinning).
"""

from __future__ import annotations

import os
import random
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import Final

import numpy as np

from embark.errors import ArchiveUnavailable
from embark.keys import DIGEST_BYTES, Key
from embark.log import Seldom, logger
from embark.settings import UsageSettings
from embark.store.ledger import Kind, Ledger

MAX_DISTINCT = 4096
_HEAD = struct.Struct("<Bf")
_LAYOUT = 1
_TIME = struct.Struct(">Q")
_DAY_SECONDS = 86_400
_WINDOWS_AT_ONCE = 100

_log = logger(__name__)


class Window:
    """Counts of one model for a while.

    Args:
        rng: decides what is counted once the window is full.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.counts: Counter[bytes] = Counter()
        self.rate = 1.0

    def count(self, digests: Sequence[bytes], chosen_at: float = 1.0) -> None:
        """Count one use of each digest.

        Args:
            digests: differ.
            chosen_at: the share of all uses that come here, the others being left out.
        """
        share = self.rate / chosen_at
        if share < 1:
            digests = [one for one in digests if self._rng.random() < share]
        self.counts.update(digests)
        while len(self.counts) > MAX_DISTINCT:
            self._thin()

    def _thin(self) -> None:
        generator = np.random.default_rng(self._rng.getrandbits(64))
        kept = generator.binomial(list(self.counts.values()), 0.5)
        names = list(self.counts)
        self.counts = Counter(
            {name: int(count) for name, count in zip(names, kept, strict=True) if count}
        )
        self.rate /= 2

    def encode(self) -> bytes:
        """Return the window as it is stored."""
        numbers = np.fromiter(self.counts.values(), "<u4", len(self.counts))
        return _HEAD.pack(_LAYOUT, self.rate) + b"".join(self.counts) + numbers.tobytes()


class Usage:
    """Counts the lookups of one gateway process. Safe for many threads.

    Args:
        ledger: where windows are written.
        settings: how often, and how long they are kept.
        rng: see `Window`.
    """

    def __init__(
        self, ledger: Ledger, settings: UsageSettings, rng: random.Random | None = None
    ) -> None:
        self._ledger: Final = ledger
        self._settings: Final = settings
        self._rng: Final = rng or random.Random()
        self._lock = threading.Lock()
        self._windows: dict[str, Window] = {}
        self._seldom = Seldom()
        self._closed = threading.Event()
        self._writer: Final = threading.Thread(target=self._write, name="usage", daemon=True)
        if settings.window_seconds:
            self._writer.start()

    def count(self, keys: Iterable[Key]) -> None:
        """Count one use of each key's input; never waits for the ledger."""
        if not self._settings.window_seconds:
            return
        by_model: dict[str, list[bytes]] = {}
        for key in keys:
            by_model.setdefault(key.model, []).append(key.digest)
        for model, digests in by_model.items():
            self._count(model, digests)

    def count_inputs(self, model: str, digests: Callable[[], Iterable[bytes]]) -> None:
        """Count one use of each input of a model; one that repeats counts once.

        A window that is thinned takes whole requests or leaves them, which costs nothing and has
        the same expectation; what it leaves is not asked for.
        """
        if not self._settings.window_seconds:
            return
        window = self._windows.get(model)
        rate = 1.0 if window is None else window.rate
        if rate == 1 or self._rng.random() < rate:
            self._count(model, list(set(digests())), chosen_at=rate)

    def close(self) -> None:
        """Write what was counted, then stop; idempotent."""
        if not self._closed.is_set() and self._settings.window_seconds:
            self._closed.set()
            self._writer.join()

    def _count(self, model: str, digests: Sequence[bytes], chosen_at: float = 1.0) -> None:
        with self._lock:
            window = self._windows.get(model)
            if window is None:
                window = self._windows[model] = Window(self._rng)
            window.count(digests, chosen_at)

    def _write(self) -> None:
        closing = False
        while not closing:
            closing = self._closed.wait(self._settings.window_seconds)
            self._flush()

    def _flush(self) -> None:
        with self._lock:
            windows, self._windows = self._windows, {}
        ttl_s = int(self._settings.days * _DAY_SECONDS)
        for model, window in windows.items():
            name = _TIME.pack(time.time_ns() // 1_000_000) + os.urandom(8)
            try:
                self._ledger.put(model, Kind.USAGE, {name: window.encode()}, ttl_s)
            except ArchiveUnavailable as error:
                # A statistic: what is lost changes the order in which inputs are filled, no more.
                if self._seldom.due():
                    _log.warning("usage_not_written", model=model, reason=error.message)


def read_usage(
    ledger: Ledger,
    model: str,
    latest: int | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> dict[bytes, float]:
    """Return how often each input of a model was asked, by digest.

    Args:
        ledger: where the counts are.
        model: public model name.
        latest: how many of the latest windows to read; None for all that are kept.
        is_over: asked between pages; ends with what was read so far.

    Raises:
        ArchiveUnavailable: it cannot be read.
    """
    total: dict[bytes, float] = {}
    pages = takewhile(lambda _: not is_over(), ledger.ids(model, Kind.USAGE))
    names = [name for page in pages for name in page]
    if latest is not None:
        names = sorted(names)[-latest:]  # a name begins with its time
    for start in range(0, len(names), _WINDOWS_AT_ONCE):
        if is_over():
            break
        for value in ledger.get(model, Kind.USAGE, names[start : start + _WINDOWS_AT_ONCE]):
            if value is not None:
                _add(total, value)
    return total


def _add(total: dict[bytes, float], value: bytes) -> None:
    _, rate = _HEAD.unpack_from(value)
    count = (len(value) - _HEAD.size) // (DIGEST_BYTES + 4)
    numbers = np.frombuffer(value, "<u4", count, _HEAD.size + count * DIGEST_BYTES)
    for position, number in enumerate((numbers / rate).tolist()):
        start = _HEAD.size + position * DIGEST_BYTES
        digest = value[start : start + DIGEST_BYTES]
        total[digest] = total.get(digest, 0.0) + number
