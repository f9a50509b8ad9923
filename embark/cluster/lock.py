"""A lock that is a file, held by one process at a time and let go when it ends, however it does."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embark.child import Report
from embark.errors import ConfigurationError

_POLL_SECONDS = 0.1


@contextmanager
def locked(path: Path, timeout_s: float, doing: str, report: Report) -> Iterator[None]:
    """Hold the lock, after waiting for whoever has it.

    Args:
        path: the file; its folder must exist.
        timeout_s: longest wait.
        doing: what the holder does, for messages.
        report: told once if there is a wait.

    Raises:
        ConfigurationError: it was not free within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    waiting = False
    while True:
        with path.open("a", encoding="ascii") as lock:
            if _take(lock.fileno(), path):
                yield
                return
        if time.monotonic() >= deadline:
            raise ConfigurationError(
                f"another process has been {doing} for over {timeout_s:g} s; end it (it holds"
                f" {path}) and try again"
            )
        if not waiting:
            waiting = True
            report(f"another process is {doing}; waiting for it")
        time.sleep(_POLL_SECONDS)


def _take(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    # The last holder may have removed the file, and another process made it anew.
    return path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())
