"""A disk that is slow to sync, under servers that are started on it; `slow_disk.c` does it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

_SOURCE = Path(__file__).with_suffix(".c")


class SlowDisk:
    """As fast as the machine's, until it is slowed.

    Args:
        folder: for the compiled library.
    """

    def __init__(self, folder: Path) -> None:
        library, self._delay = folder / "slow_disk.so", folder / "milliseconds"
        command = ["cc", "-Wall", "-Werror", "-O1", "-shared", "-fPIC"]
        subprocess.run([*command, "-o", library, _SOURCE, "-ldl"], check=True)
        self._environment = {"LD_PRELOAD": str(library), "SYNC_DELAY_FILE": str(self._delay)}
        self._set(0)

    @contextmanager
    def beneath(self) -> Iterator[None]:
        """Processes started meanwhile are on it."""
        with patch.dict(os.environ, self._environment):
            yield

    @contextmanager
    def slowed(self, seconds: float) -> Iterator[None]:
        """Each sync takes longer meanwhile."""
        self._set(seconds)
        try:
            yield
        finally:
            self._set(0)

    def _set(self, seconds: float) -> None:
        self._delay.write_text(f"{seconds * 1000:.0f}\n", encoding="utf-8")
