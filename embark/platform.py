"""The whole platform on one machine: Triton, consumers and gateway, as `embark up` runs them."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import httpx

from embark.child import Child, Report
from embark.config import Configuration, to_environment
from embark.errors import ConfigurationError
from embark.listening import gateway_url, require_safe
from embark.metrics import SHARED_FOLDER, forget_process
from embark.reloading import Reloader
from embark.triton import Command, TritonPorts, forget_shared_memory, triton_command

LOCK_FILE = "up.lock"

# Triton's error lines, but for its complaint that there is no GPU.
_RETINA_ERROR = re.compile(r"E\d{4} (?!.*CudaDriverHelper)")
_WATCH_SECONDS = 0.1
_PROBE_SECONDS = 1.0
_GATEWAY_STOP_SECONDS = 20
_CONSUMER_STOP_SECONDS = 30
_RETINA_STOP_SECONDS = 20


class Platform:
    """Starts the processes, keeps them running, stops them in order.

    Args:
        configuration: settings; `data` and the model repository must be absolute.
        report: told what happens, a line at a time.

    Raises:
        ConfigurationError: the port is taken, the gateway needs keys, or Retina's environment is
            unusable.
    """

    def __init__(self, configuration: Configuration, report: Report) -> None:
        settings = configuration.settings
        self._report: Final = report
        self._data: Final = settings.data
        gateway = settings.gateway
        require_safe(gateway)
        _require_free(gateway.host, gateway.port)
        if settings.consumer.status_port and settings.consumer.processes > 1:
            raise ConfigurationError(
                "consumer.status_port is one port, and consumer.processes several on this machine;"
                " the gateway's /metrics covers them all: set consumer.status_port to 0"
            )
        self.url: Final = gateway_url(gateway)
        ports = TritonPorts.free()
        self._retina_url: Final = f"http://127.0.0.1:{ports.http}"
        repository = settings.retina.model_repository
        self._reloader: Final = Reloader(repository, self._retina_url, report)
        region = f"embark_{os.getpid()}_"
        metrics = settings.data / "metrics"
        shutil.rmtree(metrics, ignore_errors=True)
        metrics.mkdir(parents=True)
        environment = {
            **os.environ,
            **to_environment(configuration),
            "EMBARK_RETINA__URL": f"127.0.0.1:{ports.grpc}",
            SHARED_FOLDER: str(metrics),
        }
        retina = triton_command(
            settings.retina.environment,
            repository,
            settings.data / "triton",
            ports,
            region,
            traces=settings.tracing.endpoint,
        )
        logs = settings.data / "logs"
        forget = partial(forget_process, folder=metrics)
        self._retina: Final = Child(
            "retina",
            retina,
            logs / "retina.log",
            report,
            shown=lambda line: bool(_RETINA_ERROR.match(line)),
            clean=lambda pid: forget_shared_memory(region),
        )
        self._consumers: Final = [
            Child(
                f"consumer-{number}",
                Command([sys.executable, "-m", "consumers"], environment),
                logs / f"consumer-{number}.log",
                report,
                clean=forget,
            )
            for number in range(1, settings.consumer.processes + 1)
        ]
        self._gateway: Final = Child(
            "gateway",
            Command([sys.executable, "-m", "gateway"], environment),
            logs / "gateway.log",
            report,
            clean=forget,
        )
        self._children: Final = [self._retina, *self._consumers, self._gateway]

    def run(self, stop: threading.Event, *, ready: Report) -> None:
        """Run until `stop` is set; everything has ended when this returns.

        Args:
            stop: asks for an orderly end.
            ready: told the URL once lookups are served and Retina computes.
        """
        try:
            for child in self._children:
                child.start()
            prober = threading.Thread(target=self._announce, args=(stop, ready), daemon=True)
            prober.start()
            while not stop.wait(_WATCH_SECONDS):
                for child in self._children:
                    child.watch()
            prober.join()
        finally:
            self._stop()

    def kill(self) -> None:
        """End everything at once; what was accepted is kept."""
        for child in self._children:
            child.kill()

    def _announce(self, stop: threading.Event, ready: Report) -> None:
        answering = False
        while not stop.wait(_WATCH_SECONDS):
            if not answering and _answers(f"{self.url}/v2/health/ready"):
                answering = True
                self._report(f"gateway answers at {self.url}; Retina is loading its models")
            if answering and _answers(f"{self._retina_url}/v2/health/ready"):
                ready(self.url)
                self._reloader.run(stop)

    def _stop(self) -> None:
        self._gateway.stop(_GATEWAY_STOP_SECONDS)
        for consumer in self._consumers:
            consumer.stop(_CONSUMER_STOP_SECONDS)
        self._retina.stop(_RETINA_STOP_SECONDS)


@contextmanager
def only_one(data: Path) -> Iterator[None]:
    """Hold the data folder for this process.

    Raises:
        ConfigurationError: another process holds it.
    """
    data.mkdir(parents=True, exist_ok=True)
    with (data / LOCK_FILE).open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise ConfigurationError(
                f"{data} is in use by `embark up`, process {lock.read().strip() or 'unknown'};"
                " stop it, or choose another folder with --data"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _answers(url: str) -> bool:
    try:
        # Our own child: whether it answers, not who it is.
        return httpx.get(url, timeout=_PROBE_SECONDS, trust_env=False, verify=False).is_success
    except httpx.HTTPError:
        return False


def _require_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {host}:{port} ({error.strerror}); choose another with --port"
            ) from None
