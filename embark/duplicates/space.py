"""Makes cosines of any encoder comparable: takes away what all its vectors have in common. Pure.

Vectors of many encoders lie in a narrow cone: any two are near. The mean and a few leading
principal components are that cone, and are removed (All-but-the-Top, Mu and Viswanath, ICLR 2018);
as there, a hundredth of the dimensions, but never more than the vectors at hand can tell. Of the
other components the leading ones are kept: 10^5 vectors fit in memory and are compared fast.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

KEPT = 256
"""Most dimensions of a vector in its space."""

_SAMPLE = 4096
_VECTORS_FOR_A_COMPONENT = 40
_DIMENSIONS_FOR_A_COMPONENT = 100
_TINY = 1e-9
_BLOCK = 4096

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


class Space:
    """Vectors, seen from their mean and without their leading components.

    Args:
        vectors: shape (n, dimension), rows that may be used and others.
        usable: numbers of the rows that are vectors; afterwards `rows`.
        anchors: shape (any, dimension), vectors of other inputs, which take part in the mean.

    Attributes:
        rows: numbers of the rows that are in the space, rising.
        seen: these rows in the space, float32, shape (rows, KEPT or fewer), of length 1.
    """

    def __init__(self, vectors: npt.NDArray[Any], usable: Rows, anchors: Floats) -> None:
        self.rows: Final = usable
        step = max(1, -(-len(usable) // _SAMPLE))
        sample: Floats = vectors[usable[::step]].astype(np.float32)
        known: Floats = np.concatenate([_unit(sample), _unit(anchors)])
        mean: Floats = known.mean(0, dtype=np.float32)
        known -= mean
        removed = min(
            known.shape[1] // _DIMENSIONS_FOR_A_COMPONENT, len(known) // _VECTORS_FOR_A_COMPONENT
        )
        kept = _axes(known, removed + KEPT)[:, removed:]
        self.seen: Final[Floats] = np.empty((len(usable), kept.shape[1]), np.float32)
        for at in range(0, len(usable), _BLOCK):
            block: Floats = vectors[usable[at : at + _BLOCK]].astype(np.float32)
            block = _unit(block)
            block -= mean
            self.seen[at : at + _BLOCK] = _unit(block @ kept)

    def cosines(self, first: Rows, second: Rows) -> Floats:
        """Return the cosine of each pair of rows, float32."""
        found = np.empty(len(first), np.float32)
        places = np.searchsorted(self.rows, first), np.searchsorted(self.rows, second)
        for at in range(0, len(first), _BLOCK):
            ones, others = (self.seen[ends[at : at + _BLOCK]] for ends in places)
            found[at : at + _BLOCK] = np.einsum("nd,nd->n", ones, others)
        np.clip(found, -1, 1, out=found)
        return found


def _axes(centred: Floats, most: int) -> Floats:
    """Return the leading principal components, shape (dimension, `most` or fewer)."""
    count, dimension = centred.shape
    few = count < dimension
    sizes, axes = np.linalg.eigh(centred @ centred.T if few else centred.T @ centred)
    order = np.argsort(-sizes, kind="stable")[:most]
    order = order[sizes[order] > sizes.max(initial=0) * 1e-6]
    found: Floats = axes[:, order]
    return _unit((centred.T @ found).T).T if few else found


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Floats = vectors / np.maximum(lengths, np.float32(_TINY))
    return found
