"""From what a request carries to items: checked, digested, and bound to a model.

`ItemMaker` makes one item of a text, an image, a URL or a key, whatever protocol brought it;
`ItemParser` reads the `items` of our own protocol. An item that cannot be served becomes a
`BadRequest` in its place, so that the others still are. Never decodes images and never fetches.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from embark.errors import BadRequest, PayloadTooLarge
from embark.following import Following
from embark.inputs import Input, InputKind, image_input, image_url_input, text_input
from embark.keys import Key, digest, parse_key
from embark.models import Catalogue, Model
from embark.settings import InputSettings
from gateway.body import refuse_unknown

_CONTENT_FIELDS = ("text", "image", "image_url", "key")
_ITEM_FIELDS = frozenset((*_CONTENT_FIELDS, "model"))

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Item:
    """One item that can be looked up.

    Attributes:
        index: its position in the request.
        model: the generation that answers it.
        key: its key under that generation.
        content: the input; None when only the key was sent.
    """

    index: int
    model: Model
    key: Key
    content: Input | None


Parsed = Item | BadRequest


class ItemMaker:
    """Makes the items of one request, all against one catalogue.

    Every method that makes an item raises BadRequest, without an index, if it cannot be served.

    Args:
        catalogue: the models.
        limits: what an input may be.
        default: generation of the items that name no model; None if each must.
    """

    def __init__(
        self, catalogue: Catalogue, limits: InputSettings, default: Model | None = None
    ) -> None:
        self._catalogue: Final = catalogue
        self._limits: Final = limits
        self._default: Final = default

    def text(self, index: int, text: str, model: Model | None = None) -> Item:
        """Return the item of a text."""
        content = text_input(text)
        _limit("text", len(content.payload), self._limits.max_text_bytes, "bytes of UTF-8")
        return self._of(index, content, model)

    def utf8(self, index: int, text: bytes, model: Model | None = None) -> Item:
        """Return the item of a text in UTF-8."""
        _limit("text", len(text), self._limits.max_text_bytes, "bytes of UTF-8")
        try:
            text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadRequest(f"text is not valid UTF-8: {error}", code="invalid_text") from None
        return self._of(index, Input(InputKind.TEXT, text), model)

    def image(self, index: int, data: bytes, model: Model | None = None) -> Item:
        """Return the item of an encoded image file."""
        if not data:
            raise BadRequest("image is empty", code="empty_image")
        _limit("image", len(data), self._limits.max_image_bytes, "bytes")
        return self._of(index, image_input(data), model)

    def image_base64(self, index: int, encoded: str, model: Model | None = None) -> Item:
        """Return the item of an encoded image file, given in standard base64."""
        # Checked before decoding, so that too large an image costs no memory.
        _limit("image", len(encoded) * 3 // 4 - 2, self._limits.max_image_bytes, "bytes")
        try:
            data = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise BadRequest(
                "image must be the file's bytes in standard base64", code="invalid_base64"
            ) from None
        return self.image(index, data, model)

    def image_url(self, index: int, url: str, model: Model | None = None) -> Item:
        """Return the item of an image's URL."""
        _limit("image_url", len(url), self._limits.max_url_chars, "characters")
        return self._of(index, image_url_input(url), model)

    def key(self, index: int, printed: str, model: Model | None = None) -> Item:
        """Return the item of a key; it names the same input under any generation."""
        named = parse_key(printed)
        model = model or self._default
        if model is None:
            model = self._catalogue[named.model]
        if model.name != named.model:
            raise BadRequest(
                f"the key is of model {named.model}, and {model.name} is asked",
                code="wrong_model",
            )
        return Item(index, model, Key(model.name, model.generation, named.digest), None)

    def _of(self, index: int, content: Input, model: Model | None) -> Item:
        model = model or self._default
        if model is None:
            raise BadRequest(
                "the item names no model, nor does the request;"
                f" the models are: {', '.join(self._catalogue)}",
                code="model_missing",
            )
        if content.kind.modality is not model.facts.modality:
            raise BadRequest(
                f"{model.name} embeds {model.facts.modality.value}, not {content.kind.value}",
                code="wrong_modality",
            )
        return Item(index, model, Key(model.name, model.generation, digest(content)), content)


def each(make: Callable[[int, _Value], Item], values: Sequence[_Value]) -> list[Parsed]:
    """Return what `make` returns for each position and value, or why it cannot be served."""
    made: list[Parsed] = []
    for index, value in enumerate(values):
        try:
            made.append(make(index, value))
        except BadRequest as error:
            error.index = index
            # Without the frames, which hold the whole request.
            made.append(error.with_traceback(None))
    return made


class ItemParser:
    """What makes items in one gateway.

    Args:
        following: the models, as they are when a request comes.
        limits: what an input may be.
        max_items: most items in one request.
    """

    def __init__(self, following: Following, limits: InputSettings, max_items: int) -> None:
        self._following: Final = following
        self._limits: Final = limits
        self.max_items: Final = max_items

    @property
    def catalogue(self) -> Catalogue:
        """The models, as they are now."""
        return self._following.current

    def maker(self, catalogue: Catalogue, default: Model | None, count: int) -> ItemMaker:
        """Return what makes the `count` items of one request.

        Raises:
            BadRequest: none, or more than the limit.
        """
        if not count:
            raise BadRequest("the request has no item; send at least one", code="empty_batch")
        if count > self.max_items:
            raise PayloadTooLarge(
                f"the request has {count} items; the limit is {self.max_items} (gateway.max_items)",
                code="too_many_items",
                index=self.max_items,
            )
        return ItemMaker(catalogue, self._limits, default)

    def parse(self, body: Mapping[str, Any]) -> list[Parsed]:
        """Return each item of `body["items"]` in order, or why it cannot be served.

        Raises:
            BadRequest: `items` is missing, empty or too long, or `model` names no model.
        """
        items = body.get("items")
        if not isinstance(items, list):
            raise BadRequest("the request needs items, a list", code="invalid_items")
        catalogue, name = self.catalogue, body.get("model")
        default = None if name is None else find_model(catalogue, name)
        maker = self.maker(catalogue, default, len(items))
        return each(lambda index, item: _read(maker, catalogue, index, item), items)


def find_model(catalogue: Catalogue, name: object) -> Model:
    """Return the live generation of the model that a request names.

    Raises:
        BadRequest: not a string, or no such model.
    """
    if not isinstance(name, str):
        raise BadRequest("model must be a string", code="invalid_model")
    return catalogue[name]


def _read(maker: ItemMaker, catalogue: Catalogue, index: int, item: object) -> Item:
    if isinstance(item, str):
        return maker.text(index, item)
    if not isinstance(item, dict):
        raise BadRequest("an item is a string or an object", code="invalid_item")
    refuse_unknown(item, _ITEM_FIELDS, "the item")
    sent = [field for field in _CONTENT_FIELDS if field in item]
    if len(sent) != 1:
        raise BadRequest(
            f"an item has exactly one of {', '.join(_CONTENT_FIELDS)};"
            f" this one has {', '.join(sent) or 'none'}",
            code="invalid_item",
        )
    field, value = sent[0], item[sent[0]]
    if not isinstance(value, str):
        raise BadRequest(f"{field} must be a string", code="invalid_item")
    model = find_model(catalogue, item["model"]) if "model" in item else None
    ways = {
        "text": maker.text,
        "image": maker.image_base64,
        "image_url": maker.image_url,
        "key": maker.key,
    }
    return ways[field](index, value, model)


def _limit(what: str, size: int, most: int, unit: str) -> None:
    if size > most:
        raise PayloadTooLarge(
            f"{what} has {size} {unit}; the limit is {most}", code=f"{what}_too_large"
        )
