"""From a request's `items` to items: checked, digested, and bound to a model.

An item that cannot be served becomes a `BadRequest` in its place, so that the others still are.
Never decodes images and never fetches.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from embark.errors import BadRequest, PayloadTooLarge
from embark.following import Following
from embark.inputs import Input, image_input, image_url_input, text_input
from embark.keys import Key, digest, parse_key
from embark.models import Catalogue, Model
from embark.settings import InputSettings
from gateway.body import refuse_unknown

_CONTENT_FIELDS = ("text", "image", "image_url", "key")
_ITEM_FIELDS = frozenset((*_CONTENT_FIELDS, "model"))


@dataclass(frozen=True, slots=True)
class Item:
    """One item that can be looked up.

    Attributes:
        index: its position in the request.
        model: the live generation that answers it.
        key: its key under that generation.
        content: the input; None when only the key was sent.
    """

    index: int
    model: Model
    key: Key
    content: Input | None


Parsed = Item | BadRequest


class ItemParser:
    """Turns the `items` of a body into `Item`s.

    Args:
        following: the models, as they are when a request comes.
        limits: what an input may be.
        max_items: most items in one request.
    """

    def __init__(self, following: Following, limits: InputSettings, max_items: int) -> None:
        self._following: Final = following
        self._limits: Final = limits
        self._max_items: Final = max_items

    @property
    def catalogue(self) -> Catalogue:
        """The models, as they are now."""
        return self._following.current

    def parse(self, body: Mapping[str, Any]) -> list[Parsed]:
        """Return each item of `body["items"]` in order, or why it cannot be served.

        Raises:
            BadRequest: `items` is missing, empty or too long, or `model` names no model.
        """
        items = body.get("items")
        if not isinstance(items, list):
            raise BadRequest("the request needs items, a list", code="invalid_items")
        if not items:
            raise BadRequest("items is empty; send at least one", code="empty_batch")
        if len(items) > self._max_items:
            raise PayloadTooLarge(
                f"the request has {len(items)} items; the limit is {self._max_items}",
                code="too_many_items",
                index=self._max_items,
            )
        request = _Request(self.catalogue, self._limits, body.get("model"))
        return [request.parse(index, item) for index, item in enumerate(items)]


class _Request:
    """Parses the items of one request, all against one catalogue.

    Args:
        catalogue: the models.
        limits: what an input may be.
        name: model of the items that name none.
    """

    def __init__(self, catalogue: Catalogue, limits: InputSettings, name: object) -> None:
        self._catalogue: Final = catalogue
        self._limits: Final = limits
        self._default: Final = None if name is None else self._model(name)

    def parse(self, index: int, item: object) -> Parsed:
        """Return an item, or why it cannot be served."""
        try:
            return self._parse_item(index, item)
        except BadRequest as error:
            error.index = index
            return error

    def _parse_item(self, index: int, item: object) -> Item:
        if isinstance(item, str):
            item = {"text": item}
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
        model = self._model(item["model"]) if "model" in item else self._default
        if field == "key":
            return self._from_key(index, value, model)
        return self._from_content(index, self._content(field, value), model)

    def _from_key(self, index: int, printed: str, model: Model | None) -> Item:
        named = parse_key(printed)
        if model is not None and model.name != named.model:
            raise BadRequest(
                f"the key is of model {named.model}, the item asks {model.name}",
                code="wrong_model",
            )
        model = self._catalogue[named.model]
        return Item(index, model, Key(model.name, model.generation, named.digest), None)

    def _from_content(self, index: int, content: Input, model: Model | None) -> Item:
        if model is None:
            raise BadRequest(
                f"the item names no model, nor does the request; {self._suggest()}",
                code="model_missing",
            )
        if content.kind.modality is not model.facts.modality:
            raise BadRequest(
                f"{model.name} embeds {model.facts.modality.value}, not {content.kind.value}",
                code="wrong_modality",
            )
        return Item(index, model, Key(model.name, model.generation, digest(content)), content)

    def _content(self, field: str, value: str) -> Input:
        if field == "text":
            content = text_input(value)
            _limit("text", len(content.payload), self._limits.max_text_bytes, "bytes of UTF-8")
        elif field == "image_url":
            _limit("image_url", len(value), self._limits.max_url_chars, "characters")
            content = image_url_input(value)
        else:
            content = image_input(self._image_bytes(value))
        return content

    def _image_bytes(self, encoded: str) -> bytes:
        # Checked before decoding, so that too large an image costs no memory.
        _limit("image", len(encoded) * 3 // 4 - 2, self._limits.max_image_bytes, "bytes")
        try:
            data = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise BadRequest(
                "image must be the file's bytes in standard base64", code="invalid_base64"
            ) from None
        if not data:
            raise BadRequest("image is empty", code="empty_image")
        _limit("image", len(data), self._limits.max_image_bytes, "bytes")
        return data

    def _model(self, name: object) -> Model:
        if not isinstance(name, str):
            raise BadRequest("model must be a string", code="invalid_model")
        return self._catalogue[name]

    def _suggest(self) -> str:
        return f"the models are: {', '.join(self._catalogue)}"


def _limit(what: str, size: int, most: int, unit: str) -> None:
    if size > most:
        raise PayloadTooLarge(
            f"{what} has {size} {unit}; the limit is {most}", code=f"{what}_too_large"
        )
