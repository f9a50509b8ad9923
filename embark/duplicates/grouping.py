"""From pairs to groups that hold around one of their members. Pure.

Pairs are not transitive: a, b and c may each be near the next while a and c are different items. So
a group is not all that hangs together: every member must itself be a duplicate of the group's
representative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]

Against = Callable[[int, Rows], npt.NDArray[np.bool_]]
"""Says which of some nodes are duplicates of one node."""


@dataclass(frozen=True)
class Star:
    """A group: its representative, and the other members in order."""

    representative: int
    members: tuple[int, ...]


def stars(first: Rows, second: Rows, scores: Scores, against: Against) -> list[Star]:
    """Return groups of two nodes or more; a node is in one at most.

    The node with the most, and the best, duplicates becomes a representative first. Its members are
    its duplicates and theirs that are also its own.

    Args:
        first: a node of each accepted pair.
        second: the other one.
        scores: of the pairs.
        against: judges pairs that are not among them.
    """
    near: dict[int, set[int]] = {}
    weight: dict[int, float] = {}
    for one, other, score in zip(first.tolist(), second.tolist(), scores.tolist(), strict=True):
        for node, neighbour in ((one, other), (other, one)):
            near.setdefault(node, set()).add(neighbour)
            weight[node] = weight.get(node, 0.0) + score
    free = set(near)
    found = []
    for node in sorted(near, key=lambda node: (-weight[node], node)):
        if node not in free:
            continue
        free.discard(node)
        members = near[node] & free
        beyond = sorted({far for one in near[node] for far in near[one]} & free - members)
        if beyond:
            judged = against(node, np.array(beyond, np.int64))
            members |= {far for far, good in zip(beyond, judged, strict=True) if good}
        if members:
            free -= members
            found.append(Star(node, tuple(sorted(members))))
    return found
