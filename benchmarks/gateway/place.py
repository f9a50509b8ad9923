"""Where a run works: folders, server processes with their logs, environments of peers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from benchmarks.gateway.clients import Clients
from embark.child import Child, Report
from embark.settings import GatewaySettings
from embark.triton import Command

ENVIRONMENTS: Final = Path(".cache") / "bench"
REQUIREMENTS: Final = Path(__file__).parent / "requirements"

_INSTALL_SECONDS = 900
_READY_SECONDS = 180
_STOP_SECONDS = 20
_TAIL_LINES = 6


class Stopped(Exception):
    """A subject cannot be measured; the message says what stopped it."""


@dataclass(frozen=True)
class Place:
    """What all subjects of a run share.

    Attributes:
        folder: for data and logs; empty at first.
        clients: the client processes.
        stack: what is to be stopped when the run ends.
        report: told what happens, a line at a time.
        servers: what was started, by name.
    """

    folder: Path
    clients: Clients
    stack: ExitStack
    report: Report
    servers: dict[str, Child] = field(default_factory=dict)

    def serve(
        self,
        name: str,
        argv: list[str],
        ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
        clean: Callable[[int], None] = lambda pid: None,
    ) -> Child:
        """Start a server that ends with the run, and wait until it is ready.

        Raises:
            Stopped: it ended, or is not ready in time; with its last lines.
        """
        log = self.folder / "logs" / f"{name.replace(' ', '-')}.log"
        command = Command(argv, {**os.environ, **(environment or {})})
        child = Child(name, command, log, lambda line: None, clean=clean)
        child.start()
        self.servers[name] = child
        self.stack.callback(child.stop, _STOP_SECONDS)
        deadline = time.monotonic() + _READY_SECONDS
        while not ready():
            child.watch()
            if child.pid is None or time.monotonic() > deadline:
                what = "ended" if child.pid is None else f"is not ready after {_READY_SECONDS} s"
                raise Stopped(f"{name} {what}: {_tail(log)}")
            time.sleep(0.1)
        return child

    def stop(self, name: str) -> None:
        """End a server before the run does."""
        self.clients.disconnect()
        self.servers.pop(name).stop(_STOP_SECONDS)


def answers(url: str) -> Callable[[], bool]:
    """Return what tells whether a URL answers with success."""

    def ask() -> bool:
        try:
            return httpx.get(url, timeout=5, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    return ask


def environment_of(peer: str) -> Path:
    """Return the folder of a peer's own Python environment, made if missing or out of date.

    Raises:
        Stopped: it cannot be made.
    """
    folder, wanted = ENVIRONMENTS / peer, REQUIREMENTS / f"{peer}.txt"
    python, done = folder / "bin" / "python", folder / ".done"
    if done.exists() and done.read_bytes() == wanted.read_bytes():
        return folder.absolute()
    done.unlink(missing_ok=True)
    uv = str(Path(sys.executable).with_name("uv"))
    for arguments in (
        ["venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
        ["pip", "sync", "--quiet", "--python", str(python), str(wanted)],
    ):
        try:
            subprocess.run(
                [uv, *arguments], check=True, capture_output=True, text=True,
                timeout=_INSTALL_SECONDS,
            )  # fmt: skip
        except subprocess.CalledProcessError as error:
            said = " ".join(error.stderr.split())[-300:]
            raise Stopped(f"its environment cannot be made: {said}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Stopped(f"its environment cannot be made: {error}") from error
    done.write_bytes(wanted.read_bytes())
    return folder.absolute()


def own_server(python: Path, app: str, port: int, settings: GatewaySettings) -> list[str]:
    """Return the command that serves a WSGI application as the gateway is served."""
    numbers = [str(one) for one in (port, settings.processes, settings.threads)]
    return [str(python), "-m", "benchmarks.gateway.programs.own_server", app, *numbers]


def gunicorn(python: Path, app: str, port: int, settings: GatewaySettings) -> list[str]:
    """Return the command that serves it under gunicorn's threads, with as many."""
    flags = {
        "bind": f"127.0.0.1:{port}",
        "workers": settings.processes,
        "threads": settings.threads,
        "worker-class": "gthread",
        "keep-alive": 75,
        "log-level": "warning",
    }
    named = [f"--{name}={value}" for name, value in flags.items()]
    return [str(python), "-m", "gunicorn", *named, app]


@contextmanager
def place_in(folder: Path, report: Report) -> Iterator[Place]:
    """Have a place whose servers and clients end with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "clients").mkdir()
    clients = Clients(folder / "clients")
    with ExitStack() as stack:
        try:
            yield Place(folder, clients, stack, report)
        finally:
            clients.disconnect()  # first: a server that drains waits for its connections to end


def _tail(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").strip().splitlines()
    return " | ".join(line.strip() for line in lines[-_TAIL_LINES:])[-600:]
