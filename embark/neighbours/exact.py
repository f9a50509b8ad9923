"""Exact search: every vector of a generation is compared. For checking, and for small archives.

Reads the whole generation from the archive, a page at a time, so that memory is bounded by a page.
"""

from __future__ import annotations

import time

from embark.archive import Archive
from embark.errors import Unavailable
from embark.models import Model
from embark.neighbours.base import Best, Matrix, Near, directions
from embark.neighbours.vectors import read_directions

_PAGE_SECONDS = 5.0


def exact_nearest(
    archive: Archive, model: Model, queries: Matrix, k: int, timeout_s: float
) -> list[list[Near]]:
    """Return the `k` nearest records of each query; see `Neighbours.nearest`.

    Raises:
        Unavailable: `neighbours_late`, it did not end within `timeout_s`.
        ArchiveUnavailable: the archive cannot be read.
    """
    deadline = time.monotonic() + timeout_s
    asked = directions(queries)
    best = Best(asked, k)
    for page in archive.store.digests(model.name, model.generation):
        if time.monotonic() > deadline:
            raise Unavailable(
                f"the vectors of {model.name} could not all be compared in {timeout_s:g} s",
                code="neighbours_late",
            )
        best.add(*read_directions(archive, model, page, _PAGE_SECONDS))
    return [near if query.any() else [] for near, query in zip(best.result(), asked, strict=True)]
