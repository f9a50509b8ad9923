"""What processes hold of the system, and whether it grows. Linux only."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import psutil

MIB: Final = 2**20

_KINDS = {"Rss": "rss", "Pss": "pss", "Pss_Anon": "anonymous", "Pss_Shmem": "shared"}
_PARTS = 4
_GROWTH = 0.05


@dataclass(frozen=True)
class Held:
    """What the processes of one part hold together.

    Attributes:
        processes: how many.
        rss: bytes that are mapped, those of the archive's file included.
        pss: the same, with what several processes map divided among them.
        anonymous: of that, what no file backs.
        shared: of that, in shared memory.
        descriptors, threads: how many are open, how many run.
    """

    processes: int = 0
    rss: int = 0
    pss: int = 0
    anonymous: int = 0
    shared: int = 0
    descriptors: int = 0
    threads: int = 0


def held_by(processes: Iterable[psutil.Process]) -> Held:
    """Return what processes hold now; one that ends meanwhile is left out."""
    found: dict[str, int] = dict.fromkeys(Held.__dataclass_fields__, 0)
    for process in processes:
        with suppress(psutil.Error, OSError):
            now = _bytes_of(process.pid)
            now |= {"descriptors": process.num_fds(), "threads": process.num_threads()}
            for name, value in {**now, "processes": 1}.items():
                found[name] += value
    return Held(**found)


def _bytes_of(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8").splitlines()[1:]
    told = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return {ours: 1024 * int(told[theirs].split()[0]) for theirs, ours in _KINDS.items()}


def grows(values: Sequence[float], least: float) -> bool:
    """Whether something grows steadily.

    That is: in four equal parts, one after the other, each part's median is above that of the part
    before, and the last is above the first by more than 5 % and more than `least`.
    """
    if len(values) < _PARTS:
        return False
    medians = [statistics.median(part) for part in np.array_split(np.asarray(values), _PARTS)]
    rises = all(later > earlier for earlier, later in pairwise(medians))
    return rises and medians[-1] - medians[0] > max(least, _GROWTH * medians[0])


def slope(requests: Sequence[float], values: Sequence[float]) -> float:
    """Return by how much values grow with a million requests, by least squares."""
    if len(set(requests)) < 2:
        return 0.0
    return float(np.polyfit(np.asarray(requests) / 1e6, values, 1)[0])
