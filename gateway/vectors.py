"""A lookup's results as one array, for protocols that answer with arrays.

And, for those that have no word for a placeholder: every vector, or an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from embark.codec import Embedding, Failure
from embark.errors import BadRequest, FailedInput, Unavailable
from embark.models import Model
from gateway.lookup import Result

Matrix = npt.NDArray[np.floating[Any]]


def matrix(results: Sequence[Result | None], model: Model, dtype: str) -> Matrix:
    """Return vectors as one contiguous array, copied once.

    Args:
        results: of items of `model`; None for an item that was not looked up.
        model: gives the placeholder of what is not a hit.
        dtype: `<f4` or `<f2`.

    Returns:
        Shape (len(results), dimension).

    Raises:
        BadRequest: `invalid_datatype`, when a number is too large for float16.
    """
    rows = [
        result.record.vector
        if result is not None and isinstance(result.record, Embedding)
        else model.oov
        for result in results
    ]
    vectors: Matrix = np.empty((len(rows), model.facts.dimension), dtype)
    with np.errstate(over="ignore"):
        np.concatenate(rows, out=vectors.reshape(-1), casting="same_kind")
    if vectors.dtype.itemsize < model.oov.dtype.itemsize and not np.isfinite(vectors).all():
        raise BadRequest(
            f"{model.name} has vectors with numbers that float16 cannot hold; ask for FP32",
            code="invalid_datatype",
        )
    return vectors


def require_vectors(results: Sequence[Result], on_miss: str) -> None:
    """Return if every result is a hit.

    Args:
        results: of a lookup.
        on_miss: what became of its misses; `skip` if the caller may not queue any.

    Raises:
        FailedInput: an input cannot be embedded.
        Unavailable: `not_ready`, vectors are missing; the same request may succeed later.
    """
    for result in results:
        if isinstance(result.record, Failure):
            raise FailedInput(
                result.record.message, code=result.record.code, index=result.item.index
            )
    pending = [result for result in results if result.record is None]
    if not pending:
        return
    first, more = pending[0], len(pending) - 1
    others = f"; {more} more are missing" if more else ""
    if on_miss == "skip":
        state = "not in the archive, or it did not answer; this API key may not queue it"
    elif all(result.queued for result in pending):
        state = "queued and not computed yet; ask again"
    elif first.item.content is None:
        state = "not in the archive, or it did not answer; a key alone cannot be computed"
    else:
        state = "not in the archive, or it did not answer, and not known to be queued; ask again"
    raise Unavailable(f"{state}{others}", code="not_ready", index=first.item.index)
