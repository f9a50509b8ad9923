"""A production-like deployment: every process by itself, to be broken one at a time."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from embark.child import Child
from embark.cluster.local import LocalCluster
from embark.config import to_environment
from embark.metrics import SHARED_FOLDER
from embark.ports import free_port
from embark.settings import Settings
from embark.triton import Command, TritonPorts, forget_shared_memory, triton_command
from tests.support.cluster import applied, configuration, unique
from tests.support.freezing import freeze, thaw
from tests.support.proxy import Proxy
from tests.support.stack import REPOSITORY, repository_of, wait_until

RETINA_ENVIRONMENT = REPOSITORY.parent / ".venv-retina"
_START_SECONDS = 240

Clean = Callable[[int], None]


def _nothing(_pid: int) -> None:
    pass


class Deployment:
    """Triton, two consumers and two gateways on a cluster.

    Args:
        folder: for data and logs.
        cluster: where archive and queue are.
        proxied: put proxies between gateways and Cassandra, and between consumers and Triton.
        changes: further settings.

    Attributes:
        urls: of the gateways.
        to_cassandra, to_retina: the proxies, if there are any.
        lines: what the processes said of themselves.
    """

    def __init__(
        self, folder: Path, cluster: LocalCluster, *, proxied: bool = False, **changes: Any
    ) -> None:
        self.cluster = cluster
        self.lines: list[str] = []
        addresses = cluster.start()
        self._copies = len(addresses.contact_points)
        repository = repository_of(folder / "served", "minilm", "inception_v3")
        names = {
            "data": str(folder / "data"),
            "archive__cassandra__keyspace": unique("f"),
            "queue__kafka__prefix": unique("f"),
            "retina__model_repository": str(repository),
            "log__format": "json",
            # They have tests of their own; their index in Cassandra would take most of two cores.
            "archive__neighbours__models": (),
        }
        config = applied(configuration(addresses, copies=self._copies, **{**names, **changes}))
        self.settings: Settings = config.settings
        metrics = folder / "metrics"
        metrics.mkdir()
        self.environment = {
            **os.environ,
            **to_environment(config),
            SHARED_FOLDER: str(metrics),
        }
        ports = TritonPorts.free()
        self.to_cassandra = self.to_retina = None
        consumer_retina = ports.grpc
        gateway_cassandra = addresses.cassandra_port
        if proxied:
            assert self._copies == 1, "the driver finds other nodes by their own addresses"
            self.to_cassandra = Proxy(("127.0.0.1", addresses.cassandra_port))
            self.to_retina = Proxy(("127.0.0.1", ports.grpc))
            gateway_cassandra, consumer_retina = self.to_cassandra.port, self.to_retina.port
        self._retina_http = ports.http
        self._logs = folder / "logs"
        region = f"embark_test_{free_port()}_"
        self.parts: dict[str, Child] = {}
        triton = triton_command(RETINA_ENVIRONMENT, repository, folder / "triton", ports, region)
        self._add("triton", triton, lambda pid: forget_shared_memory(region))
        for number in (1, 2):
            self._add(
                f"consumer-{number}",
                self._python("consumers", EMBARK_RETINA__URL=f"127.0.0.1:{consumer_retina}"),
            )
        self.urls = []
        for number in (1, 2):
            port = free_port()
            self.urls.append(f"http://127.0.0.1:{port}")
            command = self._python(
                "gateway",
                EMBARK_GATEWAY__PORT=str(port),
                EMBARK_ARCHIVE__CASSANDRA__PORT=str(gateway_cassandra),
            )
            self._add(f"gateway-{number}", command)
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch)

    def start(self) -> None:
        for child in self.parts.values():
            child.start()
        self._watcher.start()
        wait_until(self.is_well, _START_SECONDS, "the deployment is ready")

    def stop(self) -> None:
        self._stopping.set()
        if self._watcher.is_alive():
            self._watcher.join()
        for name in reversed(list(self.parts)):
            self.parts[name].stop(30)
        for proxy in (self.to_cassandra, self.to_retina):
            if proxy is not None:
                proxy.close()

    def is_well(self) -> bool:
        """Whether every gateway and Triton are ready."""
        probes = [f"{url}/v2/health/ready" for url in self.urls]
        probes.append(f"http://127.0.0.1:{self._retina_http}/v2/health/ready")
        with suppress(httpx.HTTPError):
            return all(httpx.get(url, timeout=2).status_code == 200 for url in probes)
        return False

    def events(self) -> str:
        """How often each consumer and gateway has logged what, for what reason."""
        counts: Counter[str] = Counter()
        for name in self.parts:
            for line in (self._logs / f"{name}.log").read_text("utf-8", "replace").splitlines():
                with suppress(ValueError):  # Triton's lines are not JSON, nor are tracebacks
                    entry = json.loads(line)
                    counts[f"{name}: {entry['event']} {entry.get('reason', '')}"] += 1
        return "\n".join(f"{count:6} {what}" for what, count in sorted(counts.items()))

    def kill(self, part: str) -> None:
        """SIGKILL a part, all of its processes at once."""
        for process in self._processes(part):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def freeze(self, part: str) -> None:
        """Stop every process of a part, until `thaw`."""
        freeze(self._processes(part))

    def thaw(self, part: str) -> None:
        """Let a part that was frozen go on."""
        thaw(self._processes(part))

    def inferences(self, model: str) -> int:
        """How many inputs a model of Triton has computed."""
        url = f"http://127.0.0.1:{self._retina_http}/v2/models/{model}/stats"
        versions = httpx.get(url, timeout=5).json()["model_stats"]
        return sum(int(version["inference_count"]) for version in versions)

    def _processes(self, part: str) -> list[psutil.Process]:
        if part == "cassandra":
            names = [f"cassandra-{number}" for number in range(1, self._copies + 1)]
        else:
            names = [part]
        found = []
        for name in names:
            child = self.parts.get(name)
            pid = child.pid if child is not None else self.cluster.pid(name)
            assert pid is not None, f"{name} does not run"
            process = psutil.Process(pid)
            found += [process, *process.children(recursive=True)]
        return found

    def _add(self, name: str, command: Command, clean: Clean = _nothing) -> None:
        self.parts[name] = Child(
            name,
            command,
            self._logs / f"{name}.log",
            self.lines.append,
            shown=lambda line: False,
            clean=clean,
        )

    def _python(self, module: str, **variables: str) -> Command:
        return Command([sys.executable, "-m", module], {**self.environment, **variables})

    def _watch(self) -> None:
        while not self._stopping.wait(0.1):
            for child in self.parts.values():
                child.watch()


@contextmanager
def deployed(
    folder: Path, cluster: LocalCluster, *, proxied: bool = False, **changes: Any
) -> Iterator[Deployment]:
    deployment = Deployment(folder, cluster, proxied=proxied, **changes)
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.stop()
