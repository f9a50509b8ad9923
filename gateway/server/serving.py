"""What a thread does with a whole request: run the application, and begin to send its answer."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from gunicorn.http import wsgi

from embark.errors import EmbArkError, Overloaded
from embark.log import logger
from embark.metrics import HTTP_WAIT, REFUSED
from gateway.access.hooks import GRANT
from gateway.server.connection import Connection
from gateway.server.intake import Intake, release
from gateway.server.load import Load
from gateway.turns import told_of_patience

_log = logger(__name__)

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class _Sink:
    """Stands for a socket, and keeps what is sent."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.parts.append(data)


class _Place:
    """One request's place in the load."""

    def __init__(self, load: Load) -> None:
        self._load: Final = load
        self._paused = False

    def pause(self) -> None:
        """The request waits on purpose from now on."""
        if not self._paused:
            self._paused = True
            self._load.pause()

    def end(self, work_s: float) -> None:
        self._load.end(work_s, paused=self._paused)


class Serving:
    """Serves whole requests. Safe for many threads.

    Args:
        cfg: gunicorn's.
        application: answers.
        intake: refuses what comes too late.
        is_ending: whether connections are to be closed after their answer.
    """

    def __init__(
        self,
        cfg: Any,
        application: Application,
        intake: Intake,
        is_ending: Callable[[], bool],
    ) -> None:
        self._is_ending: Final = is_ending
        self._cfg: Final = cfg
        self._application: Final = application
        self._intake: Final = intake

    def serve(self, connection: Connection) -> bool:
        """Answer a connection's request; return whether the answer has gone in whole.

        Args:
            connection: belongs to this thread meanwhile.

        Raises:
            Gone: the client has left.
        """
        if connection.unshed:
            # Rare, and some take long: they stand in no line.
            self._answer(connection)
            return connection.send()
        turn = connection.line.turn
        turn.take()
        try:
            self._answer_in_line(connection, connection.line.load)
            return connection.send()
        finally:
            turn.give_back()

    def _answer_in_line(self, connection: Connection, load: Load) -> None:
        load.begin()
        place, worked = _Place(load), 0.0
        try:
            if load.is_too_late(_waited_s(connection)):
                REFUSED.labels(reason="shed").inc()
                late = Overloaded("this process had more to do than it could do in time")
                self._intake.refuse(connection, late)
                return
            began = time.thread_time()
            with told_of_patience(place.pause):
                self._answer(connection)
            worked = time.thread_time() - began
        finally:
            place.end(worked)

    def _answer(self, connection: Connection) -> None:
        try:
            HTTP_WAIT.observe(_waited_s(connection))
            self._run(connection)
        except EmbArkError as error:
            self._intake.refuse(connection, error)
        except Exception as error:
            # The application answers its own errors; this is one of the server's.
            _log.error("unexpected_error", exc_info=error)
            self._intake.refuse(connection, EmbArkError("an unexpected error; see the log"))

    def _run(self, connection: Connection) -> None:
        request, sink = connection.request, _Sink()
        # All has come: nobody waits to be told to send it.
        request._expected_100_continue = False
        request.body = io.BytesIO(connection.whole)
        response, environ = wsgi.create(
            request, sink, connection.address, connection.server, self._cfg
        )
        environ["wsgi.multithread"] = True
        environ[GRANT] = connection.grant
        parts = self._application(environ, response.start_response)
        if self._is_ending():
            response.force_close()
        try:
            for part in parts:
                response.write(part)
            response.close()
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()
        connection.keep = not response.should_close()
        connection.put(*sink.parts)
        release(connection)


def _waited_s(connection: Connection) -> float:
    return max(0.0, time.monotonic() - connection.arrived)
