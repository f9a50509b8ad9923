"""Where the parts of a request end in the bytes that have come: pure, and bounded.

The head itself is read by gunicorn's parser, which refuses what could be read in two ways.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from embark.errors import BadRequest, PayloadTooLarge

MAX_HEAD_BYTES: Final = 64 * 1024
_MAX_LINE_BYTES = 1024
_MAX_TRAILER_BYTES = 8 * 1024
# Chunks may be tiny, but not so many of them that finding their ends becomes the work.
_FREE_CHUNKS = 1000
_LEAST_CHUNK_BYTES = 64

_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[\t -~\x80-\xff]*)?")
_CRLF = b"\r\n"


class Body(Protocol):
    """Takes the body of one request off the bytes that have come."""

    def take(self, buffer: bytearray) -> bytes | None:
        """Take what is there; return the whole body when it has ended.

        Raises:
            BadRequest: it breaks its framing, or is too large.
        """


def head_end(buffer: bytearray, searched: int) -> int | None:
    """Return where the head ends, its empty line included; None if not yet.

    Args:
        buffer: from the head's first byte on.
        searched: how much of it held no end before.

    Raises:
        BadRequest: a head has no end in `MAX_HEAD_BYTES`.
    """
    end = buffer.find(b"\r\n\r\n", max(0, searched - 3))
    if end >= 0 and end + 4 <= MAX_HEAD_BYTES:
        return end + 4
    if len(buffer) > MAX_HEAD_BYTES:
        raise BadRequest("the request's head is too large", code="head_too_large")
    return None


class LengthBody:
    """A body of announced length.

    Args:
        length: in bytes.
        most: the largest that is taken.

    Raises:
        PayloadTooLarge: it is larger.
    """

    def __init__(self, length: int, most: int) -> None:
        if length > most:
            raise too_large(most)
        self.length: Final = length

    def take(self, buffer: bytearray) -> bytes | None:
        """See `Body`."""
        if len(buffer) < self.length:
            return None
        body = bytes(memoryview(buffer)[: self.length])
        del buffer[: self.length]
        return body


class ChunkedBody:
    """A body in chunks.

    Args:
        most: the largest that is taken.
    """

    def __init__(self, most: int) -> None:
        self._most: Final = most
        self._body = bytearray()
        self._chunks = 0
        self._left = -1  # of the current chunk and its line's end; -1 between chunks
        self._trailer = -1  # bytes of trailers; -1 before them

    @property
    def size(self) -> int:
        """Bytes taken so far."""
        return len(self._body)

    def take(self, buffer: bytearray) -> bytes | None:
        """See `Body`."""
        while True:
            if self._trailer >= 0:
                return self._take_trailer(buffer)
            if self._left < 0 and not self._take_size(buffer):
                return None
            if self._left >= 0 and not self._take_chunk(buffer):
                return None

    def _take_size(self, buffer: bytearray) -> bool:
        line = _line(buffer)
        if line is None:
            return False
        found = _SIZE.fullmatch(line)
        if found is None:
            raise BadRequest("a chunk's size is not valid", code="malformed")
        size = int(found[1], 16)
        self._chunks += 1
        if self._chunks > _FREE_CHUNKS + len(self._body) // _LEAST_CHUNK_BYTES:
            raise BadRequest("the body comes in too many tiny chunks", code="malformed")
        if len(self._body) + size > self._most:
            raise too_large(self._most)
        if size == 0:
            self._trailer = 0
        else:
            self._left = size + len(_CRLF)
        return True

    def _take_chunk(self, buffer: bytearray) -> bool:
        data = min(len(buffer), max(0, self._left - len(_CRLF)))
        self._body += memoryview(buffer)[:data]
        del buffer[:data]
        self._left -= data
        if self._left > len(_CRLF) or len(buffer) < len(_CRLF):
            return False
        if buffer[: len(_CRLF)] != _CRLF:
            raise BadRequest("a chunk does not end where it says", code="malformed")
        del buffer[: len(_CRLF)]
        self._left = -1
        return True

    def _take_trailer(self, buffer: bytearray) -> bytes | None:
        while (line := _line(buffer)) is not None:
            self._trailer += len(line) + len(_CRLF)
            if not line:
                return bytes(self._body)
            if self._trailer > _MAX_TRAILER_BYTES:
                raise BadRequest("the trailers are too large", code="malformed")
        return None


def too_large(most: int) -> PayloadTooLarge:
    """Return the error of a body that is larger than the limit."""
    return PayloadTooLarge(
        f"the request's body is larger than the limit, {most} bytes (gateway.max_body_bytes)",
        code="body_too_large",
    )


def _line(buffer: bytearray) -> bytes | None:
    end = buffer.find(_CRLF, 0, _MAX_LINE_BYTES)
    if end < 0:
        if len(buffer) >= _MAX_LINE_BYTES:
            raise BadRequest("a line of the body's framing is too long", code="malformed")
        return None
    line = bytes(memoryview(buffer)[:end])
    del buffer[: end + len(_CRLF)]
    return line
