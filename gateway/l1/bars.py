"""What may not enter L1: of inputs that were invalidated, what was written before.

For as long as the log of invalidations is kept (`embark.forgotten`). Not safe for threads.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from embark.forgotten import KEPT_SECONDS

MOST_BARS: Final = 100_000


class _Bar(NamedTuple):
    """What was written up to `noted_ms` may not enter, until `ends` by a monotonic clock."""

    noted_ms: int
    ends: float


_NONE = _Bar(-1, 0)


class Bars:
    """The bars of one generation."""

    def __init__(self) -> None:
        # By digest, None for all of the generation; the first to end first.
        self._bars: Final[OrderedDict[bytes | None, _Bar]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._bars)

    def put(
        self, digests: Collection[bytes] | None, noted_ms: int, now: float
    ) -> Collection[bytes] | None:
        """Bar digests, None for all; returns what is barred: all, if these were too many."""
        if digests is None or len(self._bars) + len(digests) > MOST_BARS:
            digests = None
            noted_ms = max([noted_ms, *(bar.noted_ms for bar in self._bars.values())])
            self._bars.clear()
        for digest in (None,) if digests is None else digests:
            earlier = self._bars.pop(digest, _NONE)
            self._bars[digest] = _Bar(max(noted_ms, earlier.noted_ms), now + KEPT_SECONDS)
        return digests

    def admit(
        self, digests: npt.NDArray[np.uint8], written_ms: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        """Return which of some records may enter; digests of shape (n, 16), times of (n,)."""
        of_all_ms = self._bars.get(None, _NONE).noted_ms
        noted_ms = [self._bars.get(one.tobytes(), _NONE).noted_ms for one in digests]
        may: npt.NDArray[np.bool_] = written_ms > np.maximum(np.array(noted_ms, int), of_all_ms)
        return may

    def end(self, now: float) -> None:
        """Forget the bars that have ended."""
        while self._bars and next(iter(self._bars.values())).ends <= now:
            self._bars.popitem(last=False)
