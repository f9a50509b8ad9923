"""One worker process of the gateway: a loop over its connections, and threads for the requests.

The loop does what takes microseconds: it takes bytes in, refuses, and sends what clients were slow
to take. Everything has a time limit and a bound. Gunicorn's master forks, watches and stops it.
"""

from __future__ import annotations

import os
import queue
import select
import socket
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Final

from gunicorn.workers.base import Worker as GunicornWorker

from embark.log import logger
from embark.metrics import HTTP_CONNECTIONS, HTTP_IN_FLIGHT, REFUSED
from embark.settings import GatewaySettings
from gateway.server.connection import Connection, Gone, State, Wants
from gateway.server.crowd import Crowd
from gateway.server.intake import Intake, Outcome, release
from gateway.server.lines import Lines
from gateway.server.listeners import Listeners, Refused, raise_file_limit
from gateway.server.refusals import Late
from gateway.server.serving import Serving

KEEP_ALIVE_SECONDS: Final = 75
_TICK_SECONDS = 0.25
_LAST_REQUEST_SECONDS = 2.0
_CLOSING_SECONDS = 2.0
# Of the time that the master gives to stop: to queue what is buffered, and to close.
_ENDING_SECONDS = 4.0
# With nothing left to accept with, and nobody to make room.
_FULL_SECONDS = 0.01
_CLOSING_BYTES = 4 * 2**20
# The longest that the loop waits for a thread that computes, after each call of the system.
_SWITCH_SECONDS = 0.0001
# Of those who have come, in one turn: the rest may be another process's.
_MOST_ACCEPTED = 8
_AT_ONCE_SECONDS = 0.0005
_EVENTS = {Wants.READ: select.EPOLLIN, Wants.WRITE: select.EPOLLOUT}
_log = logger(__name__)


class Worker(GunicornWorker):
    """See the module. The application that gunicorn is given has `gateway` and `settings`."""

    def run(self) -> None:
        """Serve until told to stop, then finish what has come."""
        raise_file_limit()
        sys.setswitchinterval(_SWITCH_SECONDS)
        settings: GatewaySettings = self.app.settings.gateway
        loop = _Loop(self, settings)
        try:
            loop.run()
        finally:
            loop.close()


class _Loop:
    def __init__(self, worker: Worker, settings: GatewaySettings) -> None:
        self._worker: Final = worker
        self._settings: Final = settings
        self._lines: Final = Lines(settings.objective_ms / 1000)
        self._intake: Final = Intake(worker.cfg, worker.app.gateway.gate, self._lines, settings)
        self._serving: Final = Serving(
            worker.cfg, worker.wsgi, self._intake, lambda: not worker.alive
        )
        self._poll: Final = select.epoll()
        self._wake: Final = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._listeners: Final = Listeners(worker.sockets, settings)
        self._crowd: Final = Crowd(settings)
        self._jobs: Final[queue.SimpleQueue[Connection | None]] = queue.SimpleQueue()
        self._done: Final[deque[Connection]] = deque()
        self._again: Final[deque[Connection]] = deque()
        self._looked = self._ticked = time.monotonic()
        self._threads: Final = [
            threading.Thread(target=self._work, name=f"request-{number}", daemon=True)
            for number in range(settings.threads)
        ]

    def run(self) -> None:
        self._poll.register(self._wake, select.EPOLLIN)
        self._poll.register(self._worker.PIPE[0], select.EPOLLIN)
        for thread in self._threads:
            thread.start()
        for listener in self._listeners:
            self._poll.register(listener, select.EPOLLIN)
        while self._worker.alive:
            self._turn()
            if self._worker.ppid != os.getppid():
                _log.warning("master_gone")
                break
        self._drain()

    def close(self) -> None:
        for _ in self._threads:
            self._jobs.put(None)
        for connection in self._crowd.all():
            if connection.state is not State.WORKING:
                self._drop(connection)
        for thread in self._threads:
            # One that still works has had its time; the process ends without it.
            thread.join(0.1)

    def _drain(self) -> None:
        """Answer what has come, and what comes on open connections for a moment, then stop."""
        for listener in self._listeners:
            self._poll.unregister(listener)
            self._listeners.close(listener)
        now = time.monotonic()
        last_call, ends = (
            now + _LAST_REQUEST_SECONDS,
            now + self._worker.cfg.graceful_timeout - _ENDING_SECONDS,
        )
        while len(self._crowd) and now < ends:
            self._turn()
            now = time.monotonic()
            for connection in self._crowd.all():
                if connection.state in (State.IDLE, State.GREETING) and now > last_call:
                    self._drop(connection)

    def _turn(self) -> None:
        self._worker.notify()
        before = time.monotonic()
        events = self._poll.poll(0 if self._again else _TICK_SECONDS)
        now = time.monotonic()
        # What was there at once may have come at any time since the last look.
        came = self._looked if now - before < _AT_ONCE_SECONDS else now
        self._looked = now
        for number, _ in events:
            if number == self._wake:
                os.eventfd_read(self._wake)
            elif number in self._listeners:
                self._accept(number)
            elif number == self._worker.PIPE[0]:
                os.read(number, 4096)
            elif (connection := self._crowd.find(number)) is not None:
                self._guarded(connection, came, answered=False)
        while self._done:
            self._guarded(self._done.popleft(), came, answered=True)
        for _ in range(len(self._again)):
            self._guarded(self._again.popleft(), came, answered=False)
        if now - self._ticked >= _TICK_SECONDS:
            self._tick(now)

    def _accept(self, listener: int) -> None:
        for _ in range(_MOST_ACCEPTED):
            try:
                connection = self._listeners.accept(listener)
            except Refused:
                if not self._make_room():
                    time.sleep(_FULL_SECONDS)
                return
            if connection is None:
                return
            if self._crowd.is_full() and not self._make_room():
                connection.close()
                REFUSED.labels(reason="crowded").inc()
                continue
            number = connection.sock.fileno()
            self._crowd.add(number, connection)
            self._poll.register(number, select.EPOLLIN | select.EPOLLONESHOT)

    def _guarded(self, connection: Connection, came: float, *, answered: bool) -> None:
        """Take the next step of a connection, and drop it if it has gone."""
        try:
            if answered:
                self._go(connection)
            else:
                self._step(connection, came)
        except Gone:
            self._drop(connection)
        except Exception as error:
            # Whatever one connection does to us, the others go on.
            _log.error("unexpected_error", exc_info=error)
            self._drop(connection)

    def _step(self, connection: Connection, came: float) -> None:
        if connection.state is State.GREETING:
            if not connection.greet():
                self._watch(connection, connection.wants)
                return
            connection.state = State.IDLE
        if connection.state is State.ANSWERING:
            self._go(connection)
        elif connection.state is State.CLOSING:
            connection.receive()
            connection.buffer.clear()
            if connection.moved > _CLOSING_BYTES:
                raise Gone
            self._watch(connection, Wants.READ)
        elif connection.state is not State.WORKING:
            connection.receive()
            self._advance(connection, came)

    def _advance(self, connection: Connection, came: float) -> None:
        outcome = self._intake.advance(connection)
        if outcome is Outcome.WHOLE:
            connection.state = State.WORKING
            connection.arrived = came
            self._count(connection)
            if not connection.unshed:
                connection.line.load.enter()
            self._jobs.put(connection)
            return
        if outcome is Outcome.REFUSED:
            self._go(connection)
            return
        if connection.state is not State.IDLE:
            connection.deadline = connection.late(self._settings.receive_seconds)
        self._watch(connection, Wants.READ)
        self._count(connection)

    def _go(self, connection: Connection) -> None:
        """Send what is to go; then the next request's turn comes, or the end."""
        now, begins = time.monotonic(), connection.state is not State.ANSWERING
        connection.state = State.ANSWERING
        if not connection.send():
            if begins:
                # From here on: what the system's buffers took at once shows no speed.
                connection.begun, connection.moved = now, 0
            connection.deadline = connection.late(self._settings.receive_seconds)
            self._watch(connection, Wants.WRITE)
            self._count(connection)
            return
        if not connection.keep:
            self._hang_up(connection, now)
            return
        connection.state = State.IDLE
        patience_s = self._settings.receive_seconds if connection.swallow else KEEP_ALIVE_SECONDS
        connection.deadline = now + patience_s
        self._count(connection)
        if connection.buffer:
            self._again.append(connection)
        else:
            self._watch(connection, Wants.READ)

    def _hang_up(self, connection: Connection, now: float) -> None:
        """Close when the client has the answer: what it still sends would destroy it."""
        connection.state = State.CLOSING
        connection.buffer.clear()
        connection.moved = 0
        connection.deadline = now + _CLOSING_SECONDS
        self._count(connection)
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise Gone from error
        self._watch(connection, Wants.READ)

    def _watch(self, connection: Connection, wants: Wants) -> None:
        self._poll.modify(connection.sock.fileno(), _EVENTS[wants] | select.EPOLLONESHOT)

    def _count(self, connection: Connection) -> None:
        largest = self._crowd.count(connection)
        if largest is not None:
            self._drop(largest)

    def _make_room(self) -> bool:
        """Drop the connection that does the least; return whether there was one."""
        least = self._crowd.least()
        if least is not None:
            self._drop(least)
        return least is not None

    def _tick(self, now: float) -> None:
        self._ticked = now
        working = 0
        for connection in self._crowd.all():
            if connection.state is State.WORKING:
                working += 1
            elif connection.deadline < now:
                self._expire(connection)
        HTTP_CONNECTIONS.set(len(self._crowd))
        HTTP_IN_FLIGHT.set(working)
        self._listeners.follow(now)

    def _expire(self, connection: Connection) -> None:
        if connection.state in (State.HEAD, State.BODY):
            REFUSED.labels(reason="late").inc()
            self._intake.refuse(connection, Late("the request did not come in time"), keep=False)
            self._guarded(connection, 0, answered=True)
            return
        if connection.state is State.ANSWERING:
            REFUSED.labels(reason="late").inc()
        self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        number = connection.sock.fileno()
        if not self._crowd.remove(number):
            return
        release(connection)
        self._poll.unregister(number)
        connection.close()

    def _work(self) -> None:
        """A thread: request after request."""
        while (connection := self._jobs.get()) is not None:
            try:
                gone = self._serving.serve(connection)
            except Exception as error:
                # A thread that ended would never be replaced.
                if not isinstance(error, Gone):
                    _log.error("unexpected_error", exc_info=error)
                connection.keep, gone = False, False
            if gone and connection.keep and not connection.held and not connection.has_more():
                # The usual case, without the loop: it hears of the next request.
                # Before the state: by that, the loop may look at the deadline.
                connection.deadline = time.monotonic() + KEEP_ALIVE_SECONDS
                connection.state = State.IDLE
                # From here on the loop may drop it, to make room or because it ends.
                with suppress(OSError, ValueError):
                    self._watch(connection, Wants.READ)
            else:
                self._done.append(connection)
                os.eventfd_write(self._wake, 1)
