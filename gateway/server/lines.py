"""The lines that requests stand in: short ones do not wait for those with long bodies.

Each has its own turn at the interpreter, and its own knowledge of how long a request waits. What
people look at, most of it without a key, has a line too: it is answered while there are too many
lookups, by which one sees that, and too much of it takes no more than one turn from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from gunicorn.http.body import ChunkedReader

from gateway.server.load import Load
from gateway.turns import Turn

_SHORT_BYTES = 64 * 1024
_PAGE = ("/page/", "/v1/models", "/openapi.json")


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
        self._page: Final = Line(Load(objective_s), Turn())

    def of(self, request: Any) -> Line:
        """Return the line of a request whose head has come; gunicorn's."""
        if request.path == "/" or request.path.startswith(_PAGE):
            return self._page
        reader = request.body.reader
        # How long a body is that is compressed, or comes in chunks, shows too late.
        unknown = isinstance(reader, ChunkedReader) or any(
            name == "CONTENT-ENCODING" for name, _ in request.headers
        )
        return self._long if unknown or reader.length > _SHORT_BYTES else self._short
