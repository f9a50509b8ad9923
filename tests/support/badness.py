"""Requests that are wrong in every way a seed can think of, made of ones that are right."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Final

_JUNK: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    10**400,
    2**63,
    1e308,
    "",
    " ",
    "words",
    "\x00",
    "\ud800",
    "é" * 100,
    "x" * 70_000,
    [],
    {},
    [[]],
    [None],
    {"text": "a", "key": "b"},
    {"": ""},
    {"text": None},
    {"image": "!!"},
    {"image": "AAAA"},
    {"image_url": "http://127.0.0.1/"},
    {"key": "words:0123456789abcdef:" + "0" * 32},
    {"key": "nowhere:x:y"},
    list(range(50)),
    [["deep"]] * 3,
)
_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "X")
_HEADER_NAMES = (
    "Content-Type",
    "Accept",
    "Accept-Encoding",
    "Content-Encoding",
    "Inference-Header-Content-Length",
    "Authorization",
    "X-API-Key",
    "X-Request-Timeout-Ms",
    "traceparent",
    "If-None-Match",
    "Range",
    "Cookie",
    "Expect",
    "X-Forwarded-For",
    "Content-MD5",
)
_HEADER_VALUES = (
    "",
    "0",
    "1",
    "-1",
    "9" * 30,
    "1e9",
    "gzip",
    "deflate",
    "br",
    "gzip, gzip",
    "text/plain",
    "application/json; charset=utf-16",
    "application/octet-stream",
    "application/vnd.embark.keys",
    "application/vnd.embark.vectors",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "*/*;q=nonsense",
    "Bearer ek_x",
    "bytes=9-1",
    '"x"',
    "é",
    "00-" + "0" * 32 + "-" + "0" * 16 + "-zz",
)
_SEGMENTS = (
    "",
    "..",
    ".",
    "%00",
    "%2f",
    "%ff",
    "%",
    "words",
    "é",
    "v1",
    "v2",
    "models",
    "versions",
    "1",
    "-1",
    "9" * 30,
    "a" * 300,
    "infer",
    "admin",
)
_QUERIES = (
    "model=words",
    "limit=-1",
    "k=x",
    "text=%ff",
    "=",
    "&&",
    "a=b" * 300,
    "generation=",
    "%",
)


@dataclass(frozen=True)
class Sent:
    """One request."""

    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def mutated(random: random.Random, right: Sequence[Sent]) -> Sent:
    """Return a request made of one of `right`, wrong in one to three ways."""
    sent = random.choice(right)
    for _ in range(random.randint(1, 3)):
        sent = random.choice(_WAYS)(random, sent)
    return sent


def _in_json(random: random.Random, sent: Sent) -> Sent:
    try:
        body = json.loads(sent.body)
    except (ValueError, RecursionError):
        return _in_bytes(random, sent)
    if not isinstance(body, dict):
        body = {"x": body}
    for _ in range(random.randint(1, 3)):
        _spoil(random, body)
    return replace(
        sent,
        body=json.dumps(body, ensure_ascii=random.random() < 0.9).encode("utf-8", "surrogatepass"),
    )


def _spoil(random: random.Random, body: Any) -> None:
    """Put junk somewhere inside, or leave something out."""
    while True:
        if isinstance(body, dict) and body:
            place: Any = random.choice(list(body))
        elif isinstance(body, list) and body:
            place = random.randrange(len(body))
        else:
            return
        if random.random() < 0.5 and isinstance(body[place], dict | list) and body[place]:
            body = body[place]
            continue
        way = random.random()
        if way < 0.7:
            body[place] = deepcopy(random.choice(_JUNK))
        elif way < 0.85:
            del body[place]
        elif isinstance(body, dict):
            body[random.choice(("x", "model", "items", "on_miss", "wait_ms"))] = deepcopy(
                body[place]
            )
        else:
            body.extend([deepcopy(body[place])] * random.choice((1, 5, 1500)))
        return


def _in_bytes(random: random.Random, sent: Sent) -> Sent:
    body = bytearray(sent.body)
    way = random.random()
    at = random.randint(0, len(body))
    if way < 0.3 and body:
        body[at - 1] = random.randrange(256)
    elif way < 0.5:
        del body[at:]
    elif way < 0.7:
        body[at:at] = random.randbytes(random.choice((1, 4, 50)))
    elif way < 0.8:
        body = bytearray(random.randbytes(random.choice((0, 1, 16, 100, 5000))))
    elif way < 0.9:
        body[at:at] = random.choice(
            (b"[" * 3000, b'{"a":' * 3000, b"NaN", b"1e999", b"\xef\xbb\xbf")
        )
    else:
        body *= 2
    return replace(sent, body=bytes(body))


def _in_compression(random: random.Random, sent: Sent) -> Sent:
    name = random.choice(("gzip", "deflate", "br", "identity", "GZIP", "x"))
    ways: tuple[Callable[[bytes], bytes], ...] = (
        gzip.compress,
        zlib.compress,
        lambda body: gzip.compress(body)[:-5],
        lambda body: gzip.compress(body) + b"more",
        lambda body: gzip.compress(bytes(10**6)),
        lambda body: body,
    )
    body = random.choice(ways)(sent.body)
    return replace(sent, body=body, headers={**sent.headers, "Content-Encoding": name})


def _in_headers(random: random.Random, sent: Sent) -> Sent:
    headers = {**sent.headers, random.choice(_HEADER_NAMES): random.choice(_HEADER_VALUES)}
    return replace(sent, headers=headers)


def _in_method(random: random.Random, sent: Sent) -> Sent:
    return replace(sent, method=random.choice(_METHODS))


def _in_path(random: random.Random, sent: Sent) -> Sent:
    path, _, query = sent.path.partition("?")
    segments = path.split("/")
    at = random.randrange(1, len(segments)) if len(segments) > 1 else 0
    way = random.random()
    if way < 0.5:
        segments[at] = random.choice(_SEGMENTS)
    elif way < 0.75:
        segments.insert(at, random.choice(_SEGMENTS))
    else:
        query = random.choice(_QUERIES)
    path = "/".join(segments)
    return replace(sent, path=f"{path}?{query}" if query else path)


_WAYS: Final = (
    _in_json,
    _in_json,
    _in_json,
    _in_bytes,
    _in_bytes,
    _in_compression,
    _in_headers,
    _in_headers,
    _in_method,
    _in_path,
    _in_path,
)
