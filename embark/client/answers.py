"""What a client gets: the answers of the service as small classes and NumPy arrays."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from embark.binary import HEADER, NUMPY_TYPE, Status
from embark.errors import ServiceError

_UNKNOWN_MODEL = "unknown_model"

Embeddings = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Result:
    """What the service says about one input.

    Attributes:
        status: `hit`, `oov`, `failed` or `invalid`.
        key: printed key, None if invalid.
        age_ms: how long ago the record was written, None if there is none.
        queued: for `oov`, whether the input is known to be in the queue.
        reason: code and message, for `failed` and `invalid`.
        embedding: float32 of shape (dimension,); the out-of-vocabulary vector unless `hit`, None
            if invalid.
    """

    status: str
    key: str | None
    age_ms: int | None
    queued: bool | None
    reason: dict[str, str] | None
    embedding: Embeddings | None


@dataclass(frozen=True)
class Lookup:
    """The answer to a lookup.

    Attributes:
        items: a result for each input, in order.
        embeddings: float32 of shape (inputs, dimension); NaN where the input is invalid.
    """

    items: list[Result]
    embeddings: Embeddings

    @property
    def hits(self) -> npt.NDArray[np.bool_]:
        """Which rows are vectors of their inputs; shape (inputs,)."""
        return np.array([item.status == "hit" for item in self.items], np.bool_)

    def __len__(self) -> int:
        return len(self.items)


class Rows(NamedTuple):
    """The answer to a lookup in binary.

    Attributes:
        vectors: shape (inputs, dimension), float16 or float32; the out-of-vocabulary vector unless
            a hit, zeros where the input is invalid.
        statuses: an `embark.binary.Status` each, shape (inputs,).
    """

    vectors: npt.NDArray[np.floating[Any]]
    statuses: npt.NDArray[np.uint8]

    @property
    def hits(self) -> npt.NDArray[np.bool_]:
        """Which rows are vectors of their inputs; shape (inputs,)."""
        hits: npt.NDArray[np.bool_] = self.statuses == Status.HIT
        return hits


@dataclass(frozen=True)
class Neighbour:
    """An item of the archive that is near.

    Attributes:
        key: printed key.
        cosine: cosine of the two stored vectors, from -1 to 1.
        text: the text, if it is one and the archive remembers it.
        image_url: the same for an image's URL.
    """

    key: str
    cosine: float
    text: str | None
    image_url: str | None


@dataclass(frozen=True)
class Neighbourhood:
    """The nearest items of one input.

    Attributes:
        status: as in `Result`; only a `hit` has neighbours.
        key: printed key, None if invalid.
        queued: for `oov`, whether the input is known to be in the queue.
        reason: code and message, for `failed` and `invalid`.
        neighbours: the nearest first.
    """

    status: str
    key: str | None
    queued: bool | None
    reason: dict[str, str] | None
    neighbours: list[Neighbour]


def read_result(answer: dict[str, Any]) -> Result:
    """Read one item of the answer to a lookup."""
    text = answer.get("embedding")
    embedding = None if text is None else np.frombuffer(base64.b64decode(text), "<f4")
    return Result(
        status=answer["status"],
        key=answer.get("key"),
        age_ms=answer.get("age_ms"),
        queued=answer.get("queued"),
        reason=_reason(answer),
        embedding=embedding,
    )


def read_rows(body: bytes, headers: Mapping[str, str]) -> Rows:
    """Read the answer to a lookup in binary."""
    told = dict(one.split("=", 1) for one in headers[HEADER].split(", "))
    count, dimension = int(told["items"]), int(told["dimension"])
    vectors = np.frombuffer(body, NUMPY_TYPE[told["dtype"]], count * dimension)
    vectors = vectors.reshape(count, dimension)
    return Rows(vectors, np.frombuffer(body, np.uint8, count, vectors.nbytes))


def join_rows(parts: Sequence[Rows]) -> Rows:
    """Return the answer to several requests as one; a part without any valid input has no width."""
    if len(parts) == 1:
        return parts[0]
    dimension = max((part.vectors.shape[1] for part in parts), default=0)
    dtype = max((part.vectors.dtype for part in parts), default=np.dtype("<f2"))
    vectors = np.zeros((sum(len(part.statuses) for part in parts), dimension), dtype)
    start = 0
    for part in parts:
        end = start + len(part.statuses)
        vectors[start:end, : part.vectors.shape[1]] = part.vectors
        start = end
    return Rows(vectors, np.concatenate([np.empty(0, np.uint8), *(one.statuses for one in parts)]))


def read_neighbourhood(answer: dict[str, Any]) -> Neighbourhood:
    """Read one item of the answer to a request for neighbours."""
    near = [
        Neighbour(one["key"], one["cosine"], one.get("text"), one.get("image_url"))
        for one in answer.get("neighbours", ())
    ]
    return Neighbourhood(
        answer["status"], answer.get("key"), answer.get("queued"), _reason(answer), near
    )


def refuse_unknown_models(answers: Sequence[Mapping[str, Any]]) -> None:
    """Raise if an item's model is unknown: that is the caller's mistake, not the input's."""
    for index, answer in enumerate(answers):
        error = answer.get("error")
        if error is not None and error["code"] == _UNKNOWN_MODEL:
            raise ServiceError(error["message"], code=error["code"], status=404, index=index)


def _reason(answer: dict[str, Any]) -> dict[str, str] | None:
    return answer.get("reason") or answer.get("error")
