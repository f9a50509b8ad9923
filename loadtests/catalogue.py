"""Which items a request names: Zipf popularity, new items arriving, one that is hot at once.

Not for what an item's text or picture is: that is `loadtests.contents`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from loadtests.scenario import FlashEvent, Items

_BULK_BASE = 1_000_000_000


class Catalogue:
    """The items that can be asked, as time goes on; the same in every process of a test.

    Args:
        items: size, popularity, new items.
        seed: of the scenario.
        seconds: how long the test lasts.
        flashes: crowds around one new item each.
    """

    def __init__(
        self, items: Items, seed: int, seconds: float, flashes: Sequence[FlashEvent] = ()
    ) -> None:
        rng = np.random.default_rng((seed, 0xC47))
        self._cumulative: Final = np.cumsum(np.arange(1, items.size + 1.0) ** -items.zipf)
        self._at_rank: Final = rng.permutation(items.size)
        new = int(items.new_per_second * seconds)
        self._new_ranks: Final = rng.integers(0, items.size, new)
        self._new_per_second: Final = items.new_per_second
        self._size: Final = items.size
        self._known = 0
        self._flashes: Final = [
            (flash, items.size + new + number) for number, flash in enumerate(flashes)
        ]
        self._bulk = _BULK_BASE

    def pick(self, at_s: float, count: int, rng: np.random.Generator) -> list[int]:
        """Return `count` distinct items that a request at `at_s` asks; time never goes back."""
        self._advance(at_s)
        picked: dict[int, None] = {}
        for flash, item in self._flashes:
            if flash.at <= at_s < flash.at + flash.seconds and rng.random() < flash.share:
                picked[item] = None
        while len(picked) < count:
            drawn = rng.random(2 * count) * self._cumulative[-1]
            ranks = np.searchsorted(self._cumulative, drawn, side="right")
            picked.update(dict.fromkeys(self._at_rank[ranks].tolist()))
        return list(picked)[:count]

    def unseen(self, count: int, process: int) -> range:
        """Return `count` items that nobody asks otherwise, other ones at each call.

        Args:
            count: how many.
            process: index of the process that calls; each has its own.
        """
        first = self._bulk + process * _BULK_BASE
        self._bulk += count
        return range(first, first + count)

    def _advance(self, at_s: float) -> None:
        known = min(len(self._new_ranks), int(at_s * self._new_per_second))
        for number in range(self._known, known):
            self._at_rank[self._new_ranks[number]] = self._size + number
        self._known = max(self._known, known)
