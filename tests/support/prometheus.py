"""A real Prometheus with docker/'s own rules, on loopback."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import yaml

from embark.ports import free_port
from tests.support.stack import REPOSITORY, wait_until

ROOT = REPOSITORY.parent
BINARY = ROOT / ".cache/prometheus/usr/bin/prometheus"
CONFIG = ROOT / "docker/prometheus/prometheus.yaml"

_START_SECONDS = 30
_STOP_SECONDS = 20


class Prometheus:
    """Asked through its HTTP API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Evaluate an expression now; an error of Prometheus fails the test."""
        found: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def targets(self) -> dict[str, str]:
        """Health of each target by job."""
        return {
            one["labels"]["job"]: one["health"] for one in self._get("targets")["activeTargets"]
        }

    def _get(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(
            f"{self.url}/api/v1/{path}", params=parameters, timeout=20, trust_env=False
        )
        assert answer.status_code == 200, (parameters, answer.text)
        return answer.json()["data"]


@contextmanager
def watching(folder: Path, targets: Mapping[str, str]) -> Iterator[Prometheus]:
    """Run Prometheus as docker/ configures it, but every 2 s, on these targets by job."""
    subprocess.run([ROOT / "docker/fetch-prometheus"], check=True, timeout=240)
    config = yaml.safe_load(CONFIG.read_text("utf-8"))
    config["global"] = {"scrape_interval": "2s", "evaluation_interval": "2s"}
    config["rule_files"] = [str(CONFIG.with_name("rules.yaml"))]
    for job in config["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    written = folder / "prometheus.yaml"
    written.write_text(yaml.safe_dump(config), "utf-8")
    address = f"127.0.0.1:{free_port()}"
    flags = [
        f"--config.file={written}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    process = subprocess.Popen([BINARY, *flags])
    try:
        url = f"http://{address}"
        wait_until(lambda: _is_ready(process, url), _START_SECONDS, "Prometheus is ready")
        yield Prometheus(url)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        finally:
            process.kill()


def _is_ready(process: subprocess.Popen[bytes], url: str) -> bool:
    assert process.poll() is None, "Prometheus has ended"
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/-/ready", timeout=2, trust_env=False).status_code == 200
    return False
