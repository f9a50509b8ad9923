"""Processes that are frozen: they are there and do nothing, until they are thawed."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from tests.support.stack import wait_until

_FREEZE_SECONDS = 60.0


def freeze(processes: Iterable[psutil.Process]) -> None:
    """Return when no thread of them runs: for a moment after SIGSTOP some still do."""
    held = list(processes)
    _send(held, signal.SIGSTOP)
    wait_until(lambda: all(map(_is_still, held)), _FREEZE_SECONDS, "all threads stop")


def thaw(processes: Iterable[psutil.Process]) -> None:
    """Let them go on."""
    _send(processes, signal.SIGCONT)


def _send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _is_still(process: psutil.Process) -> bool:
    return all(state in "TtZX" for state in _states(process.pid))


def _states(pid: int) -> list[str]:
    """The state of each thread, a letter of proc_pid_stat(5)."""
    states = []
    for status in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            # The second field is a name in parentheses, which may hold anything.
            states.append(status.read_text().rpartition(") ")[2][0])
    return states
