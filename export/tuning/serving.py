"""A Triton that serves one model with a candidate's settings, on a repository of its own.

The repository is temporary: configurations of the candidate, and links to the live version's files.
Not for loading it: see `perf_analyzer`.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from embark.child import Child
from embark.errors import EmbArkError
from embark.triton import TritonPorts, forget_shared_memory, triton_command
from export.triton_config import retuned
from export.tuning.record import Candidate

_START_SECONDS = 180
_STOP_SECONDS = 20
_POLL_SECONDS = 0.05
_TAIL_LINES = 5


@dataclass(frozen=True)
class Served:
    """What is served.

    Attributes:
        repository: the model repository.
        name: public model name.
        version: of the version folders, front's and encoder's.
        retina: Python environment that has the `retina` extra.
    """

    repository: Path
    name: str
    version: int
    retina: Path


@contextmanager
def serving(served: Served, candidate: Candidate, folder: Path) -> Iterator[str]:
    """Serve a model with a candidate's settings; nothing of it is left afterwards.

    Args:
        served: the model.
        candidate: its settings.
        folder: for the temporary repository and Triton's files; emptied first.

    Yields:
        host:port of the gRPC endpoint, once the model is ready.

    Raises:
        EmbArkError: Triton ended, or is not ready in time (code `measurement_failed`).
    """
    shutil.rmtree(folder, ignore_errors=True)
    models = folder / "models"
    _link(served, retuned(served.repository, served.name, candidate), models)
    ports = TritonPorts.free()
    region = f"embark_tune_{os.getpid()}_"
    log = folder / "triton.log"
    triton = Child(
        "triton",
        triton_command(served.retina, models, folder / "work", ports, region),
        log,
        lambda line: None,
        clean=lambda pid: forget_shared_memory(region),
    )
    try:
        triton.start()
        _wait_ready(triton, ports.http, log, candidate)
        yield f"127.0.0.1:{ports.grpc}"
    finally:
        # It has nothing to finish, and an orderly end takes seconds.
        triton.kill()
        triton.stop(_STOP_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def _link(served: Served, configs: Mapping[Path, str], models: Path) -> None:
    for name in (served.name, f"{served.name}_encoder"):
        source, target = served.repository / name, models / name
        target.mkdir(parents=True)
        (target / "config.pbtxt").write_text(configs[source / "config.pbtxt"], "utf-8")
        version = str(served.version)
        (target / version).symlink_to((source / version).absolute(), target_is_directory=True)


def _wait_ready(triton: Child, port: int, log: Path, candidate: Candidate) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _ready(port):
        triton.watch()
        if triton.pid is None or time.monotonic() > deadline:
            what = "ended" if triton.pid is None else f"is not ready after {_START_SECONDS} s"
            raise EmbArkError(
                f"Triton {what} with {candidate}; it said:\n  {_errors(log)}",
                code="measurement_failed",
            )
        time.sleep(_POLL_SECONDS)


def _ready(port: int) -> bool:
    with suppress(httpx.HTTPError):
        url = f"http://127.0.0.1:{port}/v2/health/ready"
        return httpx.get(url, timeout=1, trust_env=False).is_success
    return False


def _errors(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").splitlines()
    errors = [line for line in lines if line.startswith("E")] or lines
    return "\n  ".join(errors[-_TAIL_LINES:])
