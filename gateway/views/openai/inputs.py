"""The `input` of an embeddings request: to items, and how much of it is told as used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from embark.errors import BadRequest
from embark.inputs import Input, InputKind, Modality
from embark.models import Catalogue, Model
from gateway.items import Item, ItemMaker, ItemParser, each

_BYTES_OF_A_TOKEN = 4


def read_inputs(
    parser: ItemParser, catalogue: Catalogue, model: Model, given: object
) -> list[Item]:
    """Return the items of `input`: a string or a list of strings.

    A string is a text, or for a model of images a data URI or a URL.

    Raises:
        BadRequest: it is something else, or one of them cannot be served; the index names it.
    """
    values: list[Any] = given if isinstance(given, list) else [given]
    if _is_tokens(values):
        raise _tokens()
    maker = parser.maker(catalogue, model, len(values))
    read = _text if model.facts.modality is Modality.TEXT else _image
    make: Callable[[int, object], Item] = partial(_read, partial(read, maker))
    items = []
    for parsed in each(make, values):
        if isinstance(parsed, BadRequest):
            raise parsed
        items.append(parsed)
    return items


def estimate_tokens(items: Sequence[Item]) -> int:
    """Return about how many tokens the texts have: one for every four bytes of UTF-8, rounded up.

    The gateway has no tokenizer. Images count nothing; a hit counts like a miss.
    """
    return sum(_tokens_of(item.content) for item in items if item.content is not None)


def _tokens_of(content: Input) -> int:
    return -(-len(content.payload) // _BYTES_OF_A_TOKEN) if content.kind is InputKind.TEXT else 0


def _read(read: Callable[[int, str], Item], index: int, value: object) -> Item:
    if isinstance(value, list) and _is_tokens(value):
        raise _tokens()
    if not isinstance(value, str):
        raise BadRequest("input must be a string or a list of strings", code="invalid_input")
    return read(index, value)


def _text(maker: ItemMaker, index: int, value: str) -> Item:
    if not value:
        raise BadRequest("input has an empty string", code="empty_text")
    return maker.text(index, value)


def _image(maker: ItemMaker, index: int, value: str) -> Item:
    scheme = value[:8].lower()
    if scheme.startswith("data:"):
        head, _, data = value.partition(",")
        if not head.lower().endswith(";base64"):
            raise BadRequest(
                "a data URI must read data:<type>;base64,<data>", code="invalid_data_uri"
            )
        return maker.image_base64(index, data)
    if scheme.startswith(("http://", "https://")):
        return maker.image_url(index, value)
    raise BadRequest(
        "an image must be a data URI in base64, or an http or https URL", code="invalid_url"
    )


def _is_tokens(values: Sequence[object]) -> bool:
    return bool(values) and isinstance(values[0], int) and not isinstance(values[0], bool)


def _tokens() -> BadRequest:
    return BadRequest(
        "input has token ids, which mean nothing to this model; send texts"
        " (LangChain: check_embedding_ctx_length=False)",
        code="token_ids",
    )
