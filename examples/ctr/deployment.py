"""The platform that the example works against: one of its own, or one that runs already.

Everything is done by the ordinary commands, which are shown as they are run. Not for vectors: see
`content`.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from embark.config import load
from embark.errors import ConfigurationError
from embark.models import exported_models
from embark.ports import free_port
from examples.ctr.work import Work

_START_S = 180.0
_STOP_S = 90.0

console = Console(highlight=False, markup=False, soft_wrap=True)


@dataclass(frozen=True)
class Deployment:
    """Where models are exported to, and with which settings commands are run.

    Attributes:
        repository: model repository that its Triton serves.
        environment: settings, as environment variables; none for the user's own.
    """

    repository: Path
    environment: Mapping[str, str]

    def command(self, *arguments: str) -> Any:
        """Run `embark` with these arguments, showing it; returns the JSON that it prints.

        Raises:
            ConfigurationError: it failed; the message is its own.
        """
        console.print(f"$ {shlex.join(['embark', *arguments])}")
        ended = subprocess.run(
            [sys.executable, "-m", "embark", *arguments, "--json"],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, **self.environment},
        )
        if ended.returncode != 0:
            raise ConfigurationError(
                f"embark {arguments[0]} ended with status {ended.returncode}:"
                f" {ended.stdout.strip()}"
            )
        return json.loads(ended.stdout)


def own(work: Work, shipped: list[str]) -> Deployment:
    """Return a deployment of the work folder, with links to the shipped encoders it needs.

    Raises:
        ConfigurationError: one was never exported.
    """
    repository = load().settings.retina.model_repository.absolute()
    missing = [name for name in shipped if name not in exported_models(repository)]
    if missing:
        raise ConfigurationError(
            f"{', '.join(missing)} is not in {repository}; `embark export {missing[0]}` makes it"
        )
    work.models.mkdir(parents=True, exist_ok=True)
    for name in shipped:
        for folder in (name, f"{name}_encoder"):
            link = work.models / folder
            if not link.exists():
                link.unlink(missing_ok=True)
                link.symlink_to(repository / folder, target_is_directory=True)
    return Deployment(
        work.models,
        {
            "EMBARK_DATA": str(work.data.absolute()),
            "EMBARK_RETINA__MODEL_REPOSITORY": str(work.models.absolute()),
            "EMBARK_ARCHIVE__BACKEND": "lmdb",
            "EMBARK_QUEUE__BACKEND": "sqlite",
        },
    )


def others() -> Deployment:
    """Return the deployment that the user's own settings describe."""
    return Deployment(load().settings.retina.model_repository, {})


@contextmanager
def running(deployment: Deployment) -> Iterator[str]:
    """Run `embark up` for a deployment of one's own; yields its URL.

    Raises:
        ConfigurationError: it does not start; the message is its own.
    """
    command = [sys.executable, "-m", "embark", "up", "--json", "--port", str(free_port())]
    console.print("$ embark up")
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **deployment.environment},
    )
    reader: threading.Thread | None = None
    try:
        url = _ready_url(process)
        # A pipe that nobody reads fills up, and then the platform waits for its own log.
        reader = threading.Thread(target=_drain, args=(process,))
        reader.start()
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        finally:
            process.kill()
            if reader is not None:
                reader.join()


def _drain(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for _ in process.stdout:
        pass


def _ready_url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + _START_S
    said = []
    for line in process.stdout:
        event = json.loads(line)
        if event.get("event") == "ready":
            return str(event["url"])
        said.append(str(event.get("message", line)))
        if time.monotonic() > deadline:
            break
    raise ConfigurationError("the platform did not start; it said:\n" + "\n".join(said))
