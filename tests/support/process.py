"""A real gateway process on embedded stores, without Triton and consumers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from embark.backends import open_backends
from embark.codec import encode_embedding
from embark.config import load, to_environment
from embark.inputs import text_input
from embark.keys import Key, digest
from embark.metrics import SHARED_FOLDER
from embark.models import Catalogue
from embark.ports import free_port
from tests.support.gateway import vector_of
from tests.support.models import DIMENSION, GENERATION, catalogue
from tests.support.stack import PATIENT_MS, wait_until

_START_SECONDS = 180
_STOP_SECONDS = 30


class GatewayProcess:
    """`python -m gateway`, with `words` and `pictures`.

    Args:
        folder: for its data and log.
        settings: of it, dots as `__`.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        overrides = {name.replace("__", "."): value for name, value in settings.items()}
        self.port = free_port()
        self.models: Catalogue = catalogue(folder / "models")
        self._log = folder / "gateway.log"
        metrics = folder / "metrics"
        metrics.mkdir()
        configuration = load(
            environment={},
            overrides={
                "data": str(folder / "data"),
                "retina.model_repository": str(folder / "models"),
                "gateway.port": self.port,
                "log.format": "json",
                "gateway.objective_ms": PATIENT_MS,
                **overrides,
            },
        )
        self.settings = configuration.settings
        tls = self.settings.gateway.tls.certificate is not None
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._environment = {
            **os.environ,
            **to_environment(configuration),
            SHARED_FOLDER: str(metrics),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def put_vectors(self, *texts: str) -> None:
        """Write the vectors of texts to the archive."""
        backends = open_backends(self.settings)
        model = self.models["words"]
        records = {}
        for text in texts:
            key = Key("words", GENERATION, digest(text_input(text)))
            vector = vector_of(key, DIMENSION)
            records[key.digest] = encode_embedding(key, vector, model.facts.dtype, 1)
        backends.store.put_many(model.name, model.generation, records)
        backends.close()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway"], env=self._environment, stdout=log, stderr=log
            )
        wait_until(lambda: self.answers() or self.ended(), _START_SECONDS, "it answers")
        assert not self.ended(), self._log.read_text()

    def answers(self) -> bool:
        with suppress(httpx.HTTPError):
            health = f"{self.url}/v2/health/ready"
            return httpx.get(health, verify=False, timeout=2).is_success
        return False

    def is_alive(self, within_s: float) -> bool:
        """Whether a thread answers in time."""
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/v2/health/live", timeout=within_s).is_success
        return False

    def ended(self) -> bool:
        assert self.process is not None
        return self.process.poll() is not None

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask for the end; returns the exit status."""
        assert self.process is not None
        if not self.ended():
            self.process.send_signal(number)
        try:
            return self.process.wait(_STOP_SECONDS)
        finally:
            self.process.kill()

    def workers(self) -> list[psutil.Process]:
        assert self.process is not None
        return psutil.Process(self.process.pid).children()

    def said(self) -> list[dict[str, Any]]:
        """The events in its log."""
        lines = self._log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def connect(self) -> socket.socket:
        """Open a connection, with a limit on every wait."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def counted(self, metric: str, **labels: str) -> float:
        """The value of a counter."""
        wanted = "".join(f'{name}="{value}"' for name, value in labels.items())
        lines = httpx.get(f"{self.url}/metrics", verify=False, timeout=10).text.splitlines()
        found = [one for one in lines if one.startswith(metric) and wanted in one]
        return sum(float(one.rpartition(" ")[2]) for one in found)


@contextmanager
def gateway_process(folder: Path, *texts: str, **settings: Any) -> Iterator[GatewayProcess]:
    """Run one whose archive has the vectors of texts."""
    gateway = GatewayProcess(folder, **settings)
    if texts:
        gateway.put_vectors(*texts)
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.stop()
