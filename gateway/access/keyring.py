"""The keys that are valid now, read again when their file changes.

A file that cannot be used leaves the keys as they were: a slip of the pen shuts nobody out, and
lets nobody in. A process that starts with such a file has no keys until it is right again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from embark.api_keys import ApiKey, read_keys, secret_id
from embark.log import logger
from gateway.rereading import Rereading

_LOOK_SECONDS = 1.0

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
        self._keys: dict[str, ApiKey] = {}
        self._looked = clock()
        self._reading = threading.Lock()
        self._file: Final = Rereading("keys", (path,), self._read)
        self._file.read()

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
            self._file.follow()
        finally:
            self._reading.release()

    def _read(self) -> None:
        self._keys = {key.id: key for key in read_keys(self._path)}
        _log.info("keys_read", keys=len(self._keys))
