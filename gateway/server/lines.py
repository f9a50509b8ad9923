"""The two lines that requests stand in: short ones do not wait for those with long bodies.

Each has its own turn at the interpreter, and its own knowledge of how long a request waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from gunicorn.http.body import ChunkedReader

from gateway.server.load import Load
from gateway.turns import Turn

_SHORT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        load: the requests in it.
        turn: of whose request is answered.
    """

    load: Load
    turn: Turn


class Lines:
    """The lines of one process.

    Args:
        objective_s: what an accepted request may take.
    """

    def __init__(self, objective_s: float) -> None:
        self._short: Final = Line(Load(objective_s), Turn())
        self._long: Final = Line(Load(objective_s), Turn())

    def of(self, request: Any) -> Line:
        """Return the line of a request whose head has come; gunicorn's."""
        reader = request.body.reader
        # How long a body is that is compressed, or comes in chunks, shows too late.
        unknown = isinstance(reader, ChunkedReader) or any(
            name == "CONTENT-ENCODING" for name, _ in request.headers
        )
        return self._long if unknown or reader.length > _SHORT_BYTES else self._short

    @property
    def unanswered(self) -> int:
        """How many requests wait or run."""
        return self._short.load.unanswered + self._long.load.unanswered
