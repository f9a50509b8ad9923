"""One supervised process: started in a session of its own, its lines logged, restarted when dead.

Not for deciding the order in which processes start and stop: see `embark.platform`.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

from embark.triton import Command

_FIRST_DELAY_SECONDS = 0.5
_LAST_DELAY_SECONDS = 30.0
_HEALTHY_SECONDS = 60.0
_LOG_BYTES = 20 * 2**20
_TAIL_LINES = 15
_TOO_OFTEN = 5
_SET_PARENT_DEATH_SIGNAL = 1
_libc = ctypes.CDLL(None)

Report = Callable[[str], None]


def _die_with_parent() -> None:
    """Runs in the child: SIGTERM when the process that started it is gone, however it went."""
    _libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)


class Child:
    """A process that is kept running.

    Args:
        name: what it is called in logs.
        command: what starts it.
        log: file for its output; one older file is kept beside it.
        report: told of starts, deaths and lines to show.
        shown: which of its lines are shown.
        clean: called after each death.
    """

    def __init__(
        self,
        name: str,
        command: Command,
        log: Path,
        report: Report,
        *,
        shown: Callable[[str], bool] = lambda line: True,
        clean: Callable[[int], None] = lambda pid: None,
    ) -> None:
        self.name: Final = name
        self._command = command
        self._report = report
        self._shown = shown
        self._clean = clean
        self._process: subprocess.Popen[str] | None = None
        self._pump: threading.Thread | None = None
        self._started_at = 0.0
        self._start_at: float | None = None
        self._deaths = 0
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        log.parent.mkdir(parents=True, exist_ok=True)
        self._handler = RotatingFileHandler(log, maxBytes=_LOG_BYTES, backupCount=1)
        self._lines = logging.Logger(name)
        self._lines.addHandler(self._handler)

    @property
    def pid(self) -> int | None:
        """Process id, None when it does not run."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process."""
        self._start_at = None
        self._started_at = time.monotonic()
        self._process = subprocess.Popen(
            self._command.argv,
            env=self._command.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, no lock
        )
        self._pump = threading.Thread(target=self._copy_lines, args=(self._process,), daemon=True)
        self._pump.start()

    def watch(self) -> None:
        """Notice a death, report it, and start again when the back-off has passed."""
        if self._start_at is not None:
            if time.monotonic() >= self._start_at:
                self.start()
            return
        if self._process is None or self._process.poll() is None:
            return
        status = self._process.returncode
        lived = time.monotonic() - self._started_at
        self._reap()
        self._deaths = 1 if lived >= _HEALTHY_SECONDS else self._deaths + 1
        delay = min(_LAST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2.0 ** (self._deaths - 1))
        self._start_at = time.monotonic() + delay
        self._report(f"{self.name} stopped ({_reason(status)}); starting again in {delay:g} s")
        if self._deaths % _TOO_OFTEN == 0:
            self._report(
                f"{self.name} has died {self._deaths} times in a row; its last lines:\n  "
                + "\n  ".join(self._tail)
            )

    def stop(self, timeout_s: float) -> None:
        """Ask it to end, and kill its whole group when it has not after `timeout_s`; idempotent."""
        self._start_at = None
        if self._process is None:
            self._handler.close()
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._report(f"{self.name} did not end within {timeout_s:g} s; it is killed")
        self._reap()
        self._handler.close()

    def kill(self) -> None:
        """Kill it at once, with everything it started."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _reap(self) -> None:
        process, self._process = self._process, None
        assert process is not None and self._pump is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._pump.join()
        self._clean(process.pid)

    def _copy_lines(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for raw in lines:
                line = raw.rstrip("\n")
                self._tail.append(line)
                self._lines.info("%s", line)
                if self._shown(line):
                    self._report(f"{self.name} | {line}")


def _reason(status: int) -> str:
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"
