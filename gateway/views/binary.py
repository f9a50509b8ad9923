"""POST /v1/lookup in binary: keys in, vectors out, as `embark.binary` lays them out.

Inputs in JSON are answered in binary, too, to who accepts it. Keys in binary name no content, so
that they queue nothing that is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flask import Response, request

from embark.binary import HEADER, KEYS_TYPE, NUMPY_TYPE, VECTORS_TYPE, Status
from embark.errors import BadRequest
from embark.keys import DIGEST_BYTES, Key
from embark.models import Catalogue, Model
from embark.settings import GatewaySettings
from gateway.access.hooks import patience_ms, permitted, remaining_s
from gateway.batches import Asked, Batch, Batches
from gateway.body import choice, read_bytes, refuse_unknown, wait_limit_ms
from gateway.items import Item, ItemParser, Parsed, find_model
from gateway.l1 import Digests, packed
from gateway.lookup import ON_MISS

_PARAMETERS = frozenset(("model", "generation", "on_miss", "wait_ms", "dtype"))
_TOLD = [status.name.lower() for status in Status]
STORED = {"float16": "fp16", "float32": "fp32"}


def has_keys() -> bool:
    """Whether the current request's body is keys in binary."""
    return request.mimetype == KEYS_TYPE


def wants_vectors() -> bool:
    """Whether the current request is to be answered in binary."""
    # Most requests name it not at all, and reading the header takes longer than this.
    if VECTORS_TYPE not in request.headers.get("Accept", "").lower():
        return False
    named = {name.lower(): quality for name, quality in request.accept_mimetypes}
    return 0 < named.get(VECTORS_TYPE, 0) >= named.get("application/json", 0)


def look_up_keys(parser: ItemParser, batches: Batches, settings: GatewaySettings) -> Response:
    """Answer the current request, whose body is keys.

    Raises:
        BadRequest: the body is not whole keys, or a parameter is wrong.
    """
    asked = request.args.to_dict()
    if not _PARAMETERS.issuperset(asked):
        refuse_unknown(asked, _PARAMETERS, "the query")
    on_miss = choice(asked, "on_miss", ON_MISS)
    wait_ms = wait_limit_ms(_numbers(asked), settings)
    body = read_bytes()
    if len(body) % DIGEST_BYTES:
        raise BadRequest(
            f"the body has {len(body)} bytes; keys have {DIGEST_BYTES} each", code="invalid_keys"
        )
    catalogue = parser.catalogue
    model = _generation(catalogue, asked)
    parser.maker(catalogue, model, len(body) // DIGEST_BYTES)
    digests = np.frombuffer(body, np.uint8).reshape(-1, DIGEST_BYTES)
    wanted = Asked(model, digests, _item_of(model, digests))
    (batch,) = batches.run([wanted], permitted(on_miss), patience_ms(wait_ms), remaining_s())
    return _respond([model], batch, _dtype([model], asked))


def look_up_items(
    batches: Batches, parsed: Sequence[Parsed], on_miss: str, wait_ms: int
) -> Response:
    """Answer items that came in JSON; at least one can be served.

    Raises:
        BadRequest: their models' vectors have different dimensions.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    models: dict[tuple[str, str], Model] = {}
    for position, item in enumerate(parsed):
        if isinstance(item, Item):
            name = (item.model.name, item.model.generation)
            models[name] = item.model
            groups.setdefault(name, []).append(position)
    dimension = _common_dimension(list(models.values()))
    dtype = _dtype(list(models.values()), request.args)
    asked = [
        Asked(models[name], packed(_digests(parsed, positions)), _item_at(parsed, positions))
        for name, positions in groups.items()
    ]
    vectors = np.zeros((len(parsed), dimension), NUMPY_TYPE[dtype])
    statuses = np.full(len(parsed), Status.INVALID, np.uint8)
    found = batches.run(asked, permitted(on_miss), patience_ms(wait_ms), remaining_s())
    for positions, batch in zip(groups.values(), found, strict=True):
        vectors[positions] = _as_type(batch, dtype)
        statuses[positions] = batch.statuses
    return _respond(list(models.values()), Batch(vectors, statuses), dtype)


def _generation(catalogue: Catalogue, asked: Mapping[str, str]) -> Model:
    if "model" not in asked:
        raise BadRequest("the query names no model", code="model_missing")
    live = find_model(catalogue, asked["model"])
    return catalogue.generation(live.name, asked.get("generation", live.generation))


def _item_of(model: Model, digests: Digests) -> Callable[[int], Item]:
    name, generation = model.name, model.generation
    return lambda at: Item(at, model, Key(name, generation, digests[at].tobytes()), None)


def _item_at(parsed: Sequence[Parsed], positions: Sequence[int]) -> Callable[[int], Item]:
    def item(at: int) -> Item:
        found = parsed[positions[at]]
        assert isinstance(found, Item)
        return found

    return item


def _digests(parsed: Sequence[Parsed], positions: Sequence[int]) -> list[bytes]:
    items = [parsed[position] for position in positions]
    return [item.key.digest for item in items if isinstance(item, Item)]


def _numbers(asked: Mapping[str, str]) -> dict[str, Any]:
    """Return parameters with numbers in place of their digits; what has none stays as it is."""
    return {
        name: int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else value
        for name, value in asked.items()
    }


def _common_dimension(models: Sequence[Model]) -> int:
    by_dimension = {model.facts.dimension: model.name for model in models}
    if len(by_dimension) > 1:
        told = ", ".join(f"{name} {dimension}" for dimension, name in by_dimension.items())
        raise BadRequest(
            f"one binary answer has vectors of one dimension; asked are {told}",
            code="mixed_dimensions",
        )
    return next(iter(by_dimension), 0)


def _dtype(models: Sequence[Model], asked: Mapping[str, str]) -> str:
    """Return the answer's type: the one asked for, or the widest that is stored."""
    if "dtype" in asked:
        return choice(asked, "dtype", tuple(NUMPY_TYPE))
    return max((STORED[model.facts.dtype] for model in models), default="fp16")


def _as_type(batch: Batch, dtype: str) -> np.ndarray[Any, Any]:
    with np.errstate(over="ignore"):
        vectors: np.ndarray[Any, Any] = batch.vectors.astype(NUMPY_TYPE[dtype], copy=False)
    if vectors.itemsize < batch.vectors.itemsize and not np.isfinite(vectors).all():
        raise BadRequest(
            "some vectors have numbers that float16 cannot hold; ask for fp32", code="invalid_dtype"
        )
    return vectors


def written(models: Sequence[Model], batch: Batch, dtype: str) -> tuple[bytes, str]:
    """Return the answer's body, and what its header says.

    Raises:
        BadRequest: a number is too large for the type.
    """
    vectors = _as_type(batch, dtype)
    items, dimension = vectors.shape
    generations = " ".join(f"{one.name}:{one.generation}" for one in models)
    counts = enumerate(np.bincount(batch.statuses).tolist())
    told = "".join(f", {_TOLD[status]}={count}" for status, count in counts if count)
    return (
        b"".join((vectors.data, batch.statuses.data)),
        f"items={items}, dimension={dimension}, dtype={dtype}, generation={generations}{told}",
    )


def _respond(models: Sequence[Model], batch: Batch, dtype: str) -> Response:
    body, told = written(models, batch, dtype)
    return Response(body, content_type=VECTORS_TYPE, headers={HEADER: told})
