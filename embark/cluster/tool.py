"""Running a tool of the servers to its end: Maven, Kafka's storage tool."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from embark.errors import ConfigurationError

_TAIL_LINES = 15


def run_tool(argv: Sequence[str], folder: Path, timeout_s: float, what: str, hint: str) -> None:
    """Run a command in `folder`, and return when it has done its work.

    Args:
        argv: the command.
        folder: its working folder.
        timeout_s: longest that it may take.
        what: what it could not do, for messages, such as `Maven could not fetch it`.
        hint: what to look at when it takes too long.

    Raises:
        ConfigurationError: it failed, with its last lines, or took too long.
    """
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"{what} within {timeout_s:g} s; {hint}") from None
    if done.returncode != 0:
        said = "\n  ".join(done.stdout.strip().splitlines()[-_TAIL_LINES:])
        raise ConfigurationError(f"{what}; it said:\n  {said}")
