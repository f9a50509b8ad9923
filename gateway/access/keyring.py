"""The keys that are valid now, read again when their file changes.

A file that cannot be used leaves the keys as they were: a slip of the pen shuts nobody out, and
lets nobody in. A process that starts with such a file has no keys until it is right again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from embark.api_keys import ApiKey, read_keys, secret_id
from embark.errors import ConfigurationError
from embark.log import Seldom, logger
from embark.metrics import KEYS_UNREADABLE

_LOOK_SECONDS = 1.0

_Mark = tuple[int, ...]
# Equal to no file's: it is read again at the next look.
_UNREAD: Final[_Mark] = ()

_log = logger(__name__)


class Keyring:
    """The keys of one file. Safe for many threads.

    Args:
        path: the file.
        clock: monotonic seconds.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path: Final = path
        self._clock: Final = clock
        self._mark: _Mark | None = _UNREAD
        self._keys: dict[str, ApiKey] = {}
        self._looked = float("-inf")
        self._reading = threading.Lock()
        self._seldom = Seldom()
        self._follow()

    def find(self, secret: str) -> ApiKey | None:
        """Return the valid key that a secret is of, None if there is none."""
        self._follow()
        identity = secret_id(secret)
        key = None if identity is None else self._keys.get(identity)
        if key is None or not key.opens(secret):
            return None
        return None if key.is_over(datetime.now(timezone.utc)) else key

    def _follow(self) -> None:
        if self._clock() - self._looked < _LOOK_SECONDS:
            return
        if not self._reading.acquire(blocking=False):
            return
        try:
            self._looked = self._clock()
            mark = _mark(self._path)
            if mark != self._mark:
                self._keys = _by_id(read_keys(self._path))
                self._mark = mark
                _log.info("keys_read", keys=len(self._keys))
        except ConfigurationError as error:
            self._mark = _UNREAD
            KEYS_UNREADABLE.inc()
            if self._seldom.due():
                _log.error("keys_not_read", reason=error.message)
        finally:
            self._reading.release()


def _mark(path: Path) -> _Mark | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    # With the time of change of owner and mode, which decide whether it can be read.
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size


def _by_id(keys: tuple[ApiKey, ...]) -> dict[str, ApiKey]:
    return {key.id: key for key in keys}
