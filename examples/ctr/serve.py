"""`python -m examples.ctr serve`: the scoring service, as gunicorn's own processes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from rich.console import Console
from rich.progress import Progress

from embark.client import Client
from embark.errors import ConfigurationError
from examples.ctr.scorer import Scorer
from examples.ctr.serving.app import create_app
from examples.ctr.serving.inputs import ItemInputs, picture_digests
from examples.ctr.serving.missing import MissingPictures
from examples.ctr.serving.service import ScoringService
from examples.ctr.work import add_work

_KEEP_ALIVE_SECONDS = 75
_DRAIN_SECONDS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_work(parser)
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="EmbArk's service")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8090, help="port to listen on (default: 8090)")
    parser.add_argument("--processes", type=int, default=1, help="worker processes (default: 1)")
    parser.add_argument("--threads", type=int, default=4, help="requests at once in each")
    parser.add_argument(
        "--deadline-ms", type=float, default=150, help="longest wait for EmbArk (default: 150)"
    )


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM.

    Raises:
        ConfigurationError: `train` has not run, or EmbArk does not serve its models.
        ServiceError: EmbArk cannot be reached at the start.
    """
    console = Console(highlight=False)
    scorer = Scorer.load(options.work)
    generation = _generation(options.url, scorer.image_model)
    digests = _digests(scorer, options.work, console)
    console.print(f"scoring {len(digests)} items at http://{options.host}:{options.port}/score")
    _Server(options, lambda: _open(options, digests, generation)).run()
    return 0


def _generation(url: str, model: str) -> str:
    with Client(url) as client:
        served = {one["name"]: str(one["generation"]) for one in client.models()}
    if model not in served:
        raise ConfigurationError(
            f"{url} does not serve {model}; start it with the model repository that `train` wrote"
        )
    return served[model]


def _digests(scorer: Scorer, work: Path, console: Console) -> list[bytes]:
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("pictures' keys", total=None)
        return picture_digests(
            scorer.catalogue,
            work / "picture-keys.npy",
            lambda done, total: bar.update(task, completed=done, total=total),
        )


def _open(options: argparse.Namespace, digests: list[bytes], generation: str) -> ScoringService:
    """Open everything that a process holds; after fork, since threads do not survive one."""
    import torch

    # A request's own work is small: more threads would only get into each other's way.
    torch.set_num_threads(1)
    scorer = Scorer.load(options.work)
    inputs = ItemInputs(scorer.catalogue, digests, scorer.image_model, generation)
    patient = Client(options.url)
    return ScoringService(
        scorer,
        inputs,
        Client(options.url, timeout_s=options.deadline_ms / 1000, retries=0),
        MissingPictures(patient, inputs, scorer.image_model),
        options.deadline_ms / 1000,
        options.threads,
    )


class _Server(BaseApplication):
    """Gunicorn's master.

    Args:
        options: the command's.
        open_service: called in each worker.
    """

    def __init__(
        self, options: argparse.Namespace, open_service: Callable[[], ScoringService]
    ) -> None:
        self._options = options
        self._open_service = open_service
        self._service: ScoringService | None = None
        super().__init__()

    def load_config(self) -> None:
        """Called by gunicorn."""
        options: dict[str, Any] = {
            "bind": f"{self._options.host}:{self._options.port}",
            "workers": self._options.processes,
            "threads": self._options.threads,
            "worker_class": "gthread",
            "keepalive": _KEEP_ALIVE_SECONDS,
            "graceful_timeout": _DRAIN_SECONDS,
            "proc_name": "ctr-scoring",
            "loglevel": "warning",
            "worker_exit": self._worker_exit,
        }
        if "control_socket_disable" in self.cfg.settings:  # gunicorn 25 and later
            options["control_socket_disable"] = True
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Called by gunicorn in each worker."""
        self._service = self._open_service()
        return create_app(self._service)

    def _worker_exit(self, arbiter: object, worker: object) -> None:
        if self._service is not None:
            self._service.close()
