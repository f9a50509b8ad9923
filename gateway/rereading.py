"""Files that are read again when they change, and until that succeeds; what was read stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from embark.errors import ConfigurationError
from embark.log import Seldom, logger
from embark.metrics import KEYS_UNREADABLE

_Mark = tuple[tuple[int, ...] | None, ...]
# Equal to no files': they are read again at the next look.
_UNREAD: Final[_Mark] = ()

_log = logger(__name__)


class Rereading:
    """Some files that are read together. Not safe for threads.

    Args:
        what: they hold; an event of the log is `<what>_not_read`.
        paths: the files, as they are now.
        read: takes them up; leaves what was and raises ConfigurationError or OSError if they are of
            no use.
    """

    def __init__(self, what: str, paths: tuple[Path, ...], read: Callable[[], None]) -> None:
        self._what: Final = what
        self._paths: Final = paths
        self._read: Final = read
        self._mark = self._look()
        self._seldom = Seldom()

    def follow(self) -> None:
        """Read the files if they have changed since they were read."""
        if self._look() != self._mark:
            self.read()

    def read(self) -> None:
        """Read the files; what is wrong with them is logged and counted."""
        mark = self._look()
        try:
            self._read()
        except (ConfigurationError, OSError) as error:
            self._mark = _UNREAD
            KEYS_UNREADABLE.inc()
            if self._seldom.due():
                _log.error(f"{self._what}_not_read", reason=str(error))
        else:
            self._mark = mark

    def _look(self) -> _Mark:
        return tuple(map(_mark, self._paths))


def _mark(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    # With the time of change of owner and mode, which decide whether it can be read.
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size
