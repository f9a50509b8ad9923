"""The three kinds of input a model can embed, and their canonical bytes.

Not for preparing inputs: decoding images and fetching URLs is `consumers.inputs`, tokenising and
resizing happen inside Retina.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit, urlunsplit

from embark.errors import BadRequest

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Modality(str, enum.Enum):
    """What a model embeds."""

    TEXT = "text"
    IMAGE = "image"


class InputKind(str, enum.Enum):
    """How an input arrives: its text, its bytes, or the URL of its bytes."""

    TEXT = "text"
    IMAGE = "image"
    IMAGE_URL = "image_url"

    @property
    def modality(self) -> Modality:
        """The modality of the models that accept this kind."""
        return Modality.TEXT if self is InputKind.TEXT else Modality.IMAGE


@dataclass(frozen=True, slots=True)
class Input:
    """One canonical input.

    Attributes:
        kind: how `payload` is to be read.
        payload: UTF-8 text, the encoded image file, or the canonical URL in ASCII.
    """

    kind: InputKind
    payload: bytes


def text_input(text: str) -> Input:
    """Wrap a text; two texts are the same input only if they are equal code point by code point.

    Raises:
        BadRequest: the text has a lone surrogate, which is also what a byte becomes that is not
            UTF-8 (`gateway.body`).
    """
    try:
        return Input(InputKind.TEXT, text.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise BadRequest(
            f"text has no UTF-8 form: at position {error.start} is a lone surrogate, or a byte that"
            " is not UTF-8",
            code="invalid_text",
        ) from None


def image_input(data: bytes) -> Input:
    """Wrap the bytes of an encoded image (JPEG, PNG, WebP, GIF)."""
    return Input(InputKind.IMAGE, data)


def image_url_input(url: str) -> Input:
    """Wrap an image's URL in canonical form: scheme and host in lower case, no fragment.

    Raises:
        BadRequest: not an absolute http or https URL, or one that carries credentials.
    """
    return Input(InputKind.IMAGE_URL, canonical_url(url).encode("ascii"))


def canonical_url(url: str) -> str:
    """Return `url` normalised without changing what it names (RFC 3986, section 6.2.2 and 6.2.3).

    Raises:
        BadRequest: see `image_url_input`.
    """
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise BadRequest(
            "image_url must be printable ASCII without spaces; percent-encode the rest",
            code="invalid_url",
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadRequest(f"image_url cannot be parsed: {error}", code="invalid_url") from None
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise BadRequest(
            "image_url must be an absolute http or https URL with a host", code="invalid_url"
        )
    if parts.username is not None or parts.password is not None:
        raise BadRequest("image_url must not carry a user or password", code="invalid_url")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    netloc = host if port in (None, _DEFAULT_PORTS[scheme]) else f"{host}:{port}"
    return urlunsplit(SplitResult(scheme, netloc, parts.path or "/", parts.query, ""))
