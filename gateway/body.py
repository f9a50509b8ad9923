"""The request's body: read within its limit, parsed, its fields checked."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Mapping
from typing import Any, NoReturn

import orjson
from flask import current_app, request

from embark.errors import BadRequest, PayloadTooLarge
from embark.settings import GatewaySettings

# Parsed JSON takes up to thirty times the memory of its text, so large ones take turns.
_LARGE_BODY_BYTES = 2**20
_large_bodies = threading.Lock()

_DEFAULT_WAIT_MS = 1000
# Less than Python converts, which says so in its own words.
_MOST_DIGITS = 1000
_WINDOW_BITS = {"gzip": 31, "deflate": 15}


def read_body(fields: frozenset[str]) -> dict[str, Any]:
    """Return the JSON object that the current request carries, which may have `fields` only.

    A byte that is not UTF-8, inside a string, becomes a lone surrogate there: only the item that
    holds it is refused, later.

    Raises:
        BadRequest: not a JSON object, or a field is unknown.
        PayloadTooLarge: see `read_bytes`.
    """
    parsed = read_object()
    refuse_unknown(parsed, fields, "the request")
    return parsed


def read_object() -> dict[str, Any]:
    """Return the JSON object that the current request carries, whatever its fields.

    Raises:
        BadRequest: not a JSON object.
        PayloadTooLarge: see `read_bytes`.
    """
    parsed = parse_json(read_bytes())
    if not isinstance(parsed, dict):
        raise BadRequest("the body must be a JSON object", code="invalid_json")
    return parsed


def read_bytes() -> bytes:
    """Return the current request's body, as it was before its `Content-Encoding`.

    Raises:
        BadRequest: an encoding other than gzip and deflate, or the body is not of that encoding.
        PayloadTooLarge: a body sent in chunks, or uncompressed, exceeds the limit; Flask refuses
            announced ones.
    """
    body = request.get_data(cache=False)
    limit = int(current_app.config["MAX_CONTENT_LENGTH"])
    if request.content_length is None and len(body) >= limit:
        # The stream ends at the limit without a word.
        raise PayloadTooLarge(f"the body has {limit} bytes or more", code="body_too_large")
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    return body if encoding in ("", "identity") else _decompress(body, encoding, limit)


def parse_json(body: bytes) -> object:
    """Return the value of a text in JSON; see `read_body` for bytes that are not UTF-8.

    Raises:
        BadRequest: it is not JSON.
    """
    if len(body) <= _LARGE_BODY_BYTES:
        return _parse_json(body)
    with _large_bodies:
        return _parse_json(body)


def choice(body: Mapping[str, Any], field: str, choices: tuple[str, ...]) -> str:
    """Return the value of an optional field, the first choice if it is absent.

    Raises:
        BadRequest: the value is none of the choices.
    """
    value = body.get(field, choices[0])
    if value not in choices:
        raise BadRequest(f"{field} must be one of {', '.join(choices)}", code=f"invalid_{field}")
    return str(value)


def whole_number(body: Mapping[str, Any], field: str, most: int, default: int) -> int:
    """Return the value of an optional field, an integer from 0 to `most`.

    Raises:
        BadRequest: it is something else.
    """
    value = body.get(field, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise BadRequest(f"{field} must be an integer from 0 to {most}", code=f"invalid_{field}")
    return value


def flag(body: Mapping[str, Any], field: str, default: bool = False) -> bool:
    """Return the value of an optional field that is true or false.

    Raises:
        BadRequest: it is neither.
    """
    value = body.get(field, default)
    if not isinstance(value, bool):
        raise BadRequest(f"{field} must be true or false", code=f"invalid_{field}")
    return value


def wait_limit_ms(body: Mapping[str, Any], settings: GatewaySettings) -> int:
    """Return how long a request that waits for missing vectors does so: a second unless it says.

    Raises:
        BadRequest: it says no number, or more than the settings allow.
    """
    most_ms = settings.max_wait_ms
    return whole_number(body, "wait_ms", most_ms, min(_DEFAULT_WAIT_MS, most_ms))


def refuse_unknown(fields: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    """Raise BadRequest, `unknown_field`, if `fields` has a name that is not known."""
    unknown = sorted(fields.keys() - known)
    if unknown:
        raise BadRequest(
            f"{where} has an unknown field, {quoted(unknown[0])}; known are:"
            f" {', '.join(sorted(known))}",
            code="unknown_field",
        )


def _decompress(body: bytes, encoding: str, most: int) -> bytes:
    if encoding not in _WINDOW_BITS:
        raise BadRequest(
            f"Content-Encoding must be gzip or deflate, not {quoted(encoding)}",
            code="invalid_encoding",
        )
    decoder = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        plain = decoder.decompress(body, most + 1)
    except zlib.error as error:
        raise BadRequest(f"the body is not {encoding}: {error}", code="invalid_encoding") from None
    if len(plain) > most:
        raise PayloadTooLarge(f"the body has more than {most} bytes", code="body_too_large")
    if not decoder.eof or decoder.unused_data:
        raise BadRequest(f"the body is not one whole {encoding} stream", code="invalid_encoding")
    return plain


def _parse_json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        text = body.decode("utf-8", "surrogateescape")
        return json.loads(text, parse_constant=_refuse_constant, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise BadRequest(f"the body is not valid JSON: {reason}", code="invalid_json") from None


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number has {len(digits)} digits; at most {_MOST_DIGITS} are read")
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def quoted(text: str) -> str:
    """Return a client's text as an error may repeat it: short, and ASCII whatever it is."""
    return ascii(text if len(text) <= 40 else f"{text[:40]}…")
