"""A real platform for tests: `embark up` on free ports and a data folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from embark.backends import Backends, open_backends
from embark.client import Client, Lookup, Sendable
from embark.config import load
from embark.errors import EmbArkError
from embark.ports import free_port

REPOSITORY = Path(__file__).parents[2] / "model_repository"

PATIENT_MS = "60000"
"""For `gateway.objective_ms`: nothing is turned away because the machine is busy with tests."""

_WAIT_MS = 20_000
_COMPUTE_SECONDS = 240
_START_SECONDS = 240
_STOP_SECONDS = 90


def repository_of(folder: Path, *models: str) -> Path:
    """Make a model repository of some exported models: the fewer, the sooner Triton starts."""
    folder.mkdir(parents=True, exist_ok=True)
    for model in models:
        for name in (model, f"{model}_encoder"):
            if not (folder / name).exists():
                (folder / name).symlink_to(REPOSITORY / name)
    return folder


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def succeeds(call: Callable[[], object]) -> bool:
    """Whether a call ends without an error of ours."""
    try:
        call()
    except EmbArkError:
        return False
    return True


def all_hits(client: Client, inputs: Sequence[Sendable], model: str = "minilm") -> bool:
    return bool(client.lookup(inputs, model, on_miss="skip").hits.all())


def all_asked(client: Client, inputs: Sequence[Sendable], model: str = "minilm") -> bool:
    """Look inputs up, and return whether all are there or queued.

    While the archive is late, as on a busy machine, nobody knows that they are missing.
    """
    items = client.lookup(inputs, model).items
    return all(item.status == "hit" or item.queued for item in items)


def drained(client: Client) -> bool:
    """Whether nothing waits in the queue, as far as the service can tell."""
    lanes = client.health()["dependencies"]["queue"].get("lanes", {})
    return bool(lanes) and all(lane["depth"] == 0 for lane in lanes.values())


def wait_for_hits(client: Client, inputs: Sequence[Sendable], model: str, seconds: float) -> Lookup:
    """Look up until all are hits, and return that very lookup: another one may be late."""
    deadline = time.monotonic() + seconds
    while not (found := client.lookup(inputs, model, on_miss="skip")).hits.all():
        assert time.monotonic() < deadline, f"not within {seconds} s: all are hits"
        time.sleep(0.05)
    return found


def computed(client: Client, inputs: Sequence[Sendable], model: str) -> Lookup:
    """Ask and wait, again and again, until every input is a hit, has failed or is invalid."""
    deadline = time.monotonic() + _COMPUTE_SECONDS
    while True:
        found = client.lookup(inputs, model, on_miss="wait", wait_ms=_WAIT_MS)
        if all(item.status in ("hit", "failed", "invalid") for item in found.items):
            return found
        assert time.monotonic() < deadline, f"not within {_COMPUTE_SECONDS} s: all are computed"


class Stack:
    """A running `embark up`.

    Args:
        data: its folder.
        environment: settings, as environment variables.
        repository: model repository; None is one of minilm and inception_v3.
    """

    def __init__(
        self,
        data: Path,
        environment: dict[str, str] | None = None,
        repository: Path | None = None,
    ) -> None:
        self.data = data
        served = repository or repository_of(data / "served", "minilm", "inception_v3")
        self._environment = {
            # No shedding, which other tests are about.
            "EMBARK_GATEWAY__OBJECTIVE_MS": PATIENT_MS,
            **(environment or {}),
            "EMBARK_DATA": str(data),
            "EMBARK_RETINA__MODEL_REPOSITORY": str(served),
        }
        self.messages: list[str] = []
        self.url = f"http://127.0.0.1:{free_port()}"
        command = [sys.executable, "-m", "embark", "up", "--json", "--data", str(data)]
        command += ["--port", self.url.rpartition(":")[2], "--model-repository", str(served)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, **self._environment}
        )
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def open_backends(self) -> Backends:
        """Open its archive and queue beside it."""
        backends = open_backends(load(environment=self._environment).settings)
        wait_until(lambda: succeeds(backends.store.check), 60, "the archive is connected to")
        return backends

    def command(self, *arguments: str, status: int = 0) -> Any:
        """Run `embark` beside it, with its settings; returns the JSON that it prints."""
        ended = subprocess.run(
            [sys.executable, "-m", "embark", *arguments, "--json"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **self._environment},
        )
        assert ended.returncode == status, (ended.stdout, ended.stderr)
        return json.loads(ended.stdout)

    def wait_ready(self) -> None:
        wait_until(
            lambda: self._ready.is_set() or self.process.poll() is not None,
            _START_SECONDS,
            f"ready; it said {self.messages}",
        )
        assert self._ready.is_set(), self.messages

    def stop(self) -> int:
        """Ask for an orderly end; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(_STOP_SECONDS)
        finally:
            self.process.kill()
            self._reader.join()
        return status

    def children(self, part: str) -> list[psutil.Process]:
        """Processes of a part: `gateway`, `consumers` or `tritonserver`."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        return [one for one in family if part in _command(one)]

    def kill(self, part: str) -> None:
        """SIGKILL every process of a part."""
        found = self.children(part)
        assert found, f"no process of {part}"
        for one in found:
            with suppress(psutil.NoSuchProcess):
                one.kill()

    def retina_port(self, protocol: str) -> int:
        """Where Triton listens: `http` or `grpc`."""
        (server,) = self.children("tritonserver")
        flag = next(part for part in server.cmdline() if part.startswith(f"--{protocol}-port="))
        return int(flag.partition("=")[2])

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                event = json.loads(line)
                self.messages.append(event.get("message", ""))
                if event.get("event") == "ready":
                    self._ready.set()


def _command(process: psutil.Process) -> str:
    try:
        command = process.cmdline()
    except psutil.NoSuchProcess:
        return ""
    if command and command[0].endswith("tritonserver"):
        return "tritonserver"
    return command[2] if command[1:2] == ["-m"] else ""


@contextmanager
def running(
    data: Path, environment: dict[str, str] | None = None, repository: Path | None = None
) -> Iterator[Stack]:
    stack = Stack(data, environment, repository)
    try:
        stack.wait_ready()
        yield stack
    finally:
        stack.stop()
