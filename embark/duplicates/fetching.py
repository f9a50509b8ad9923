"""Brings the vectors of inputs from the service into the work folder.

What the service has is taken, asked for by key. What it lacks is sent, queued as bulk work, and
asked for until it is there. Only so many are under way at once, and waiting ends when nothing comes
any longer.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from embark.client import Client, Result, Sendable
from embark.dataset.digests import digest_of
from embark.duplicates.work import Shelf
from embark.errors import BadRequest, ConfigurationError, Unavailable
from embark.keys import Key, parse_key

_CHUNK = 200
_CHUNK_BYTES = 16 * 2**20
_UNDER_WAY = 2000
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0

Report = Callable[[int, int], None]
"""Is told how many inputs are done, and of how many."""

Load = Callable[[int], Sendable]
"""Returns the input of a row.

Raises:
    BadRequest: it cannot be read.
"""


def fetch(client: Client, shelf: Shelf, load: Load, report: Report, patience_s: float) -> None:
    """Fill a shelf.

    Args:
        client: of the service.
        shelf: what is there already is not asked for again.
        load: gives the inputs.
        report: is called as they come.
        patience_s: how long to wait with nothing coming.

    Raises:
        Unavailable: nothing came for so long; what has come is kept.
        ConfigurationError: another generation has become live meanwhile.
        ServiceError: the service refused a request or cannot be reached.
    """
    _Fetching(client, shelf, load, report, patience_s).run()


class _Fetching:
    def __init__(
        self, client: Client, shelf: Shelf, load: Load, report: Report, patience_s: float
    ) -> None:
        self._client: Final = client
        self._shelf: Final = shelf
        self._load: Final = load
        self._report: Final = report
        self._patience_s: Final = patience_s
        self._under_way: Final[deque[tuple[int, Key]]] = deque()
        self._last_news = time.monotonic()

    def run(self) -> None:
        waiting: deque[int] = deque(self._shelf.waiting().tolist())
        left = len(waiting)
        pause = _FIRST_PAUSE_SECONDS
        self._report(len(self._shelf) - left, len(self._shelf))
        while waiting or self._under_way:
            if waiting and len(self._under_way) + _CHUNK <= _UNDER_WAY:
                self._ask(waiting)
            else:
                self._ask_again()
            now_left = len(waiting) + len(self._under_way)
            if now_left < left:
                left, pause = now_left, _FIRST_PAUSE_SECONDS
                self._last_news = time.monotonic()
                self._report(len(self._shelf) - left, len(self._shelf))
            elif len(self._under_way) + _CHUNK > _UNDER_WAY or not waiting:
                self._wait(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)

    def _ask(self, waiting: deque[int]) -> None:
        """Take what the service has of the next inputs, and have it compute the others."""
        loaded = self._next(waiting)
        keys = {row: self._key(one) for row, one in loaded.items()}
        missing = self._look(keys)
        if not missing:
            return
        accepted = self._client.prefetch([loaded[row] for row in missing], self._shelf.model)
        refused = [row for row, key in zip(missing, accepted, strict=True) if key is None]
        if refused:
            contents = [loaded[row] for row in refused]
            found = self._client.lookup(contents, self._shelf.model, on_miss="skip")
            self._take(refused, found.items)
        self._under_way.extend((row, keys[row]) for row in missing if row not in refused)
        # Accepted is news too: what is long under way must not look like silence.
        self._last_news = time.monotonic()

    def _next(self, waiting: deque[int]) -> dict[int, Sendable]:
        """Take some rows and return their inputs; no more at once than memory should hold."""
        loaded: dict[int, Sendable] = {}
        size = 0
        while waiting and len(loaded) < _CHUNK and size < _CHUNK_BYTES:
            row = waiting.popleft()
            try:
                one = self._load(row)
                self._key(one)
            except BadRequest as error:
                self._shelf.fail(row, error.code, error.message)
                continue
            loaded[row] = one
            size += len(one) if isinstance(one, bytes | str) else 0
        return loaded

    def _key(self, one: Sendable) -> Key:
        return Key(self._shelf.model, self._shelf.generation, digest_of(one, self._shelf.model))

    def _look(self, keys: dict[int, Key]) -> list[int]:
        if not keys:
            return []
        found = self._client.lookup(list(keys.values()), self._shelf.model, on_miss="skip")
        return self._take(list(keys), found.items)

    def _ask_again(self) -> None:
        """Look for the vectors of what has been under way the longest."""
        some = [self._under_way.popleft() for _ in range(min(_CHUNK, len(self._under_way)))]
        keys = dict(some)
        self._under_way.extend((row, keys[row]) for row in self._look(keys))

    def _take(self, rows: Sequence[int], results: Sequence[Result]) -> list[int]:
        """Keep vectors and failures; return the rows that have neither."""
        hits: dict[int, np.ndarray[tuple[int], np.dtype[np.float32]]] = {}
        missing = []
        for row, result in zip(rows, results, strict=True):
            self._refuse_another_generation(result)
            if result.status == "hit" and result.embedding is not None:
                hits[row] = result.embedding
            elif result.status in ("failed", "invalid"):
                reason = result.reason or {}
                self._shelf.fail(row, reason.get("code", "failed"), reason.get("message", ""))
            else:
                missing.append(row)
        if hits:
            self._shelf.put(np.array(list(hits), np.int64), np.stack(list(hits.values())))
        return missing

    def _refuse_another_generation(self, result: Result) -> None:
        if result.key is None:
            return
        generation = parse_key(result.key).generation
        if generation != self._shelf.generation:
            raise ConfigurationError(
                f"{self._shelf.model}'s live generation is now {generation}, and was"
                f" {self._shelf.generation} when this began; run it again",
                code="generation_changed",
            )

    def _wait(self, pause_s: float) -> None:
        if time.monotonic() - self._last_news > self._patience_s:
            raise Unavailable(
                f"no vector of {self._shelf.model} has come for {self._patience_s:.0f} s;"
                f" {len(self._under_way)} are queued. What has come is kept: run it again when"
                " the consumers are at work (`embark doctor`)"
            )
        time.sleep(pause_s)
