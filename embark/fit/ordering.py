"""Requests in nearly the order of time become a file in that order. Knows nothing of logs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
import numpy.typing as npt


class Spool:
    """An array that grows in a file."""

    def __init__(self, file: IO[bytes], dtype: str) -> None:
        self._file = file
        self._dtype = dtype
        self.count = 0

    def append(self, values: npt.NDArray[Any]) -> None:
        """Add values at the end."""
        values.astype(self._dtype, copy=False).tofile(self._file)
        self.count += len(values)

    def array(self) -> npt.NDArray[Any]:
        """Return all of it; the mapping outlives the file's name and handle."""
        self._file.flush()
        return np.memmap(self._file, self._dtype, mode="r", shape=(self.count,))


class Order:
    """Writes requests in the order of time, holding back those of the last `window_s` seconds.

    Attributes:
        times, numbers: where they are written: seconds, and numbers of inputs.
        late: requests left out, since later ones were written.
        latest_s: by how many seconds the worst of them came after the newest.
    """

    def __init__(self, window_s: float, times: Spool, numbers: Spool) -> None:
        self._window_s = window_s
        self.late, self.latest_s = 0, 0.0
        self.times = times
        self.numbers = numbers
        self._held = np.empty(0), np.empty(0, np.int32)
        self._newest = self._written_until = -math.inf

    def add(self, times: Sequence[float], numbers: Sequence[int]) -> None:
        """Take requests, as many times as numbers."""
        added, named = np.array(times, np.float64), np.array(numbers, np.int32)
        is_late = added < self._written_until
        if is_late.any():
            self.late += int(is_late.sum())
            lateness = float(self._newest - added.min())
            self.latest_s = max(self.latest_s, lateness)
        held = np.concatenate([self._held[0], added[~is_late]])
        order = np.argsort(held, kind="stable")
        self._held = held[order], np.concatenate([self._held[1], named[~is_late]])[order]
        if len(held):
            self._newest = float(self._held[0][-1])
            self._write_until(self._newest - self._window_s)

    def finish(self) -> None:
        """Write what is held back."""
        self._write_until(math.inf)

    def _write_until(self, time: float) -> None:
        times, numbers = self._held
        ready = int(np.searchsorted(times, time, side="right"))
        if ready:
            self.times.append(times[:ready])
            self.numbers.append(numbers[:ready])
            self._written_until = float(times[ready - 1])
            self._held = times[ready:], numbers[ready:]
