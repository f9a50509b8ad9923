"""From the bytes of a connection to a whole request, or to a refusal as early as can be."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final

from gunicorn.http import get_parser
from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import NoMoreData, ParseException

from embark.api_keys import Scope
from embark.errors import DeadlineExceeded, EmbArkError, Overloaded, PayloadTooLarge
from embark.metrics import REFUSED
from embark.settings import GatewaySettings
from gateway.access.gate import Gate, require
from gateway.access.hooks import may_be_open
from gateway.server.connection import Connection, Gone, State
from gateway.server.framing import ChunkedBody, LengthBody, head_end
from gateway.server.lines import Lines
from gateway.server.refusals import Malformed, malformed, refusal

_HEADERS = {
    name.replace("_", "-"): f"HTTP_{name}"
    for name in (
        *("AUTHORIZATION", "X_API_KEY", "X_REQUEST_TIMEOUT_MS"),
        *("HOST", "ORIGIN", "SEC_FETCH_SITE"),
    )
}
# They must be answered when there is too much to do, too: by these one sees that, and ends it.
_UNSHED = ("/v2/health/", "/metrics", "/v1/admin/")
# The rest of a refused request is taken and thrown away up to this; beyond it the connection ends.
_MAX_SWALLOW_BYTES = 2**20
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Outcome(Enum):
    """What has become of the bytes that have come."""

    MORE = auto()  # must come
    WHOLE = auto()  # a request has
    REFUSED = auto()  # a request is; its answer is put


class Intake:
    """Takes in the requests of one process.

    Args:
        cfg: gunicorn's.
        gate: decides who may ask.
        lines: where requests stand.
        settings: limits.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        cfg: Any,
        gate: Gate,
        lines: Lines,
        settings: GatewaySettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cfg: Final = cfg
        self._gate: Final = gate
        self._lines: Final = lines
        self._max_body_bytes: Final = settings.max_body_bytes
        self._clock: Final = clock

    def advance(self, connection: Connection) -> Outcome:
        """Go as far as the bytes allow.

        Raises:
            Gone: the client has left.
        """
        try:
            if connection.state is not State.BODY and not self._take_head(connection):
                return Outcome.MORE
            assert connection.body is not None
            whole = connection.body.take(connection.buffer)
        except EmbArkError as error:
            if isinstance(error, Malformed | PayloadTooLarge) or error.code == "malformed":
                REFUSED.labels(reason="malformed").inc()
            self.refuse(connection, error)
            return Outcome.REFUSED
        if whole is None:
            self._encourage(connection)
            return Outcome.MORE
        connection.whole = whole
        return Outcome.WHOLE

    def refuse(self, connection: Connection, error: EmbArkError, *, keep: bool = True) -> None:
        """Put the answer of a refused request; it has ended then.

        Args:
            connection: whose.
            error: why.
            keep: leave the connection open, if what is still to come of the request allows it.
        """
        request = connection.request
        connection.keep = keep and request is not None and self._swallow(connection)
        path, method = ("", "") if request is None else (request.path, request.method)
        connection.put(refusal(error, path, method, keep=connection.keep))
        release(connection)

    def _take_head(self, connection: Connection) -> bool:
        buffer = connection.buffer
        if connection.state is State.IDLE:
            # Some clients end a body with a line too many.
            while buffer[:2] == b"\r\n":
                del buffer[:2]
            if not buffer:
                return False
            connection.state = State.HEAD
            connection.begun, connection.moved = self._clock(), len(buffer)
        end = head_end(buffer, connection.searched)
        if end is None:
            connection.searched = len(buffer)
            return False
        connection.searched = 0
        head = bytes(memoryview(buffer)[:end])
        del buffer[:end]
        connection.state = State.BODY
        connection.request = request = self._parse(head, connection.address)
        reader = request.body.reader
        connection.body = (
            ChunkedBody(self._max_body_bytes)
            if isinstance(reader, ChunkedReader)
            else LengthBody(reader.length, self._max_body_bytes)
        )
        connection.line = self._lines.of(request)
        connection.unshed = request.path.startswith(_UNSHED)
        self._admit(connection, has_body=isinstance(reader, ChunkedReader) or reader.length > 0)
        return True

    def _parse(self, head: bytes, address: Any) -> Any:
        try:
            return next(get_parser(self._cfg, [head], address))
        except ParseException as error:
            raise malformed(error) from None
        except (StopIteration, NoMoreData, ValueError):
            raise Malformed("the request cannot be read") from None

    def _admit(self, connection: Connection, *, has_body: bool) -> None:
        request, load, unshed = connection.request, connection.line.load, connection.unshed
        if not unshed and not load.has_room():
            REFUSED.labels(reason="shed").inc()
            raise Overloaded("this process has more to do than it can do in time")
        headers: dict[str, str] = {"PATH_INFO": request.path}
        for name, value in request.headers:
            if name in _HEADERS:
                known = _HEADERS[name]
                headers[known] = f"{headers[known]},{value}" if known in headers else value
        connection.grant = grant = self._gate.admit(headers, self._clock())
        if not grant.scopes and (has_body or not may_be_open(request.path)):
            # What a stranger sends is not even taken in.
            require(grant, Scope.READ)
        if has_body:
            grant.check_deadline(self._clock())
        remaining_s = grant.remaining_s(self._clock())
        if remaining_s is not None and not unshed and load.expected_s() > remaining_s:
            REFUSED.labels(reason="deadline").inc()
            raise DeadlineExceeded("it cannot be answered in the time that it gives")

    def _encourage(self, connection: Connection) -> None:
        request = connection.request
        if request is not None and request._expected_100_continue:
            request._expected_100_continue = False
            try:
                connection.sock.send(_CONTINUE)
            except OSError as error:
                raise Gone from error

    def _swallow(self, connection: Connection) -> bool:
        """Throw the rest of the request away; return whether the connection can go on."""
        body, request = connection.body, connection.request
        if request.should_close():
            return False
        if connection.state is State.WORKING:
            return True  # all of it has come
        if not isinstance(body, LengthBody):
            return False
        if request._expected_100_continue or body.length > _MAX_SWALLOW_BYTES:
            return False
        came = min(len(connection.buffer), body.length)
        del connection.buffer[:came]
        connection.swallow = body.length - came
        return True


def release(connection: Connection) -> None:
    """Forget the request of a connection, which has ended."""
    if connection.grant is not None:
        connection.grant.end()
    connection.grant = connection.request = connection.body = None
    connection.whole = b""
