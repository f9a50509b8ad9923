"""Server processes that outlive the command: started apart from it, found again, ended.

No process id is written down, where it could go stale: each process carries its cluster's folder
and its part's name as marks on its command line, and /proc is searched for them.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from embark.errors import ConfigurationError

_FOLDER_MARK = "-Dembark.cluster.folder="
_PART_MARK = "-Dembark.cluster.part="
_PROC = Path("/proc")
_EXEC_SECONDS = 10.0
_POLL_SECONDS = 0.05

# The shell ends at once, so that the server belongs to init: no zombie in a caller that lives on.
_LAUNCH = 'output=$1; shift; "$@" </dev/null >"$output" 2>&1 & echo $!'


@dataclass(frozen=True)
class Process:
    """A running part of a cluster."""

    part: str
    pid: int
    since: datetime


def marks(folder: Path, part: str) -> list[str]:
    """Return the Java flags by which a process is known."""
    return [f"{_FOLDER_MARK}{folder}", f"{_PART_MARK}{part}"]


def launch(argv: list[str], work: Path, output: Path) -> int:
    """Start a process in a session of its own; returns its id.

    Args:
        argv: command that carries `marks`.
        work: its working folder.
        output: file for what it prints, emptied first.
    """
    shell = subprocess.run(
        ["/bin/sh", "-c", _LAUNCH, "sh", output, *argv],
        cwd=work,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        check=True,
    )
    pid = int(shell.stdout)
    deadline = time.monotonic() + _EXEC_SECONDS
    while _mark_values(pid) is None and _exists(pid):
        if time.monotonic() >= deadline:
            raise ConfigurationError(f"{argv[0]} was not started within {_EXEC_SECONDS:g} s")
        time.sleep(_POLL_SECONDS)
    return pid


def running(folder: Path) -> dict[str, Process]:
    """Return the processes of the cluster in `folder`, by part."""
    processes = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal() and (values := _mark_values(int(entry.name))) is not None:
            of_folder, part = values
            if of_folder == str(folder):
                with contextlib.suppress(OSError):
                    pid = int(entry.name)
                    processes[part] = Process(part, pid, _started_at(pid))
    return processes


def end(processes: list[Process], timeout_s: float) -> list[str]:
    """End processes together; returns the parts that had to be killed after `timeout_s`."""
    with contextlib.ExitStack() as stack:
        handles = {}
        for process in processes:
            handle = stack.enter_context(_handle(process))
            if handle is not None:
                handles[process.part] = handle
                _send(handle, signal.SIGTERM)
                # A frozen process would keep the signal for later.
                _send(handle, signal.SIGCONT)
        stubborn = _wait(handles, timeout_s)
        for part in stubborn:
            _send(handles[part], signal.SIGKILL)
        _wait({part: handles[part] for part in stubborn}, timeout_s)
    return stubborn


@contextlib.contextmanager
def _handle(process: Process) -> Iterator[int | None]:
    """Yield a descriptor that stays with this process if its id is used anew; None if it ended."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        values = _mark_values(process.pid)
        yield handle if values is not None and values[1] == process.part else None
    finally:
        os.close(handle)


def _send(handle: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, number)


def _wait(handles: dict[str, int], timeout_s: float) -> list[str]:
    """Wait for processes to end; returns the parts that did not."""
    deadline = time.monotonic() + timeout_s
    left = dict(handles)
    while left and (remaining := deadline - time.monotonic()) > 0:
        ended, _, _ = select.select(list(left.values()), [], [], remaining)
        left = {part: handle for part, handle in left.items() if handle not in ended}
    return list(left)


def _mark_values(pid: int) -> tuple[str, str] | None:
    try:
        argv = os.fsdecode((_PROC / str(pid) / "cmdline").read_bytes()).split("\0")
    except OSError:
        return None
    if Path(argv[0]).name != "java":
        return None
    folder, part = (
        next((word[len(mark) :] for word in argv if word.startswith(mark)), None)
        for mark in (_FOLDER_MARK, _PART_MARK)
    )
    return None if folder is None or part is None else (folder, part)


def _exists(pid: int) -> bool:
    return (_PROC / str(pid)).exists()


def _started_at(pid: int) -> datetime:
    # The name in parentheses may hold spaces and parentheses; the start is the 20th field after it.
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    up = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return datetime.fromtimestamp(booted + up, timezone.utc)
