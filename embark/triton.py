"""How Triton is started from its wheel: the command, its environment, and its backend folder.

The wheel `nvidia-pytriton` carries NVIDIA's own `tritonserver` with the Python backend; it runs on
machines without a GPU. Its Python environment stays apart from EmbArk's: see docs/dependencies.md.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from embark.errors import ConfigurationError, RetinaUnavailable
from embark.ports import free_ports

_LAYOUT = """
import json, sys, sysconfig
print(json.dumps({"packages": sysconfig.get_path("purelib"),
                  "libraries": sysconfig.get_config_var("LIBDIR"),
                  "version": "%d.%d" % sys.version_info[:2]}))
"""
_ASK_SECONDS = 30
_EXIT_SECONDS = 10
_LOAD_SECONDS = 120
# Requests of traces that are followed are traced whatever the rate.
_NEVER_BY_ITSELF = 10**9
_SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class TritonPorts:
    """Where one Triton listens, on loopback."""

    http: int
    grpc: int
    metrics: int

    @classmethod
    def free(cls) -> TritonPorts:
        """Return ports that are free now."""
        return cls(*free_ports(3))


@dataclass(frozen=True)
class Command:
    """What starts a process."""

    argv: list[str]
    environment: dict[str, str]


def triton_command(
    environment: Path,
    repository: Path,
    work: Path,
    ports: TritonPorts,
    region: str,
    *,
    traces: str = "",
) -> Command:
    """Return the command that serves `repository`.

    Args:
        environment: Python environment that has the `retina` extra.
        repository: model repository.
        work: folder for the backend's files; made if missing.
        ports: where to listen.
        region: prefix of the shared memory between Triton and its Python models.
        traces: where its part of traces goes, OTLP over HTTP; empty for nowhere.

    Raises:
        ConfigurationError: the environment is missing or has no Triton.
    """
    layout = _layout(environment)
    packages = Path(layout["packages"])
    server = packages / "pytriton" / "tritonserver"
    backends = _backends(server, work / "backends", layout["version"])
    flags = {
        "model-repository": repository,
        "backend-directory": backends,
        "backend-config": f"python,shm-region-prefix-name={region}",
        # New versions are loaded on request, on loopback only: see `load_model`.
        "model-control-mode": "explicit",
        "exit-timeout-secs": _EXIT_SECONDS,
        "http-address": "127.0.0.1",
        "http-port": ports.http,
        "grpc-address": "127.0.0.1",
        "grpc-port": ports.grpc,
        "metrics-address": "127.0.0.1",
        "metrics-port": ports.metrics,
    }
    libraries = (layout["libraries"], packages / "nvidia_pytriton.libs")
    binaries = f"{environment.absolute() / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return Command(
        [
            str(server / "bin" / "tritonserver"),
            "--disable-auto-complete-config",
            *(f"--{name}={value}" for name, value in flags.items()),
            *(f"--trace-config={option}" for option in _tracing(traces)),
            *(f"--load-model={name}" for name in _with_versions(repository)),
        ],
        {
            **os.environ,
            "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
            "PATH": binaries,
            "PYTHONPATH": str(packages),
        },
    )


def load_model(url: str, name: str) -> None:
    """Have a running Triton load the versions of a model that are new, and unload those gone.

    Args:
        url: Triton's HTTP endpoint.
        name: as in the model repository.

    Raises:
        RetinaUnavailable: it does not answer, or refuses.
    """
    try:
        answer = httpx.post(
            f"{url}/v2/repository/models/{name}/load", timeout=_LOAD_SECONDS, trust_env=False
        )
    except httpx.HTTPError as error:
        raise RetinaUnavailable(f"Retina cannot be asked to load {name}: {error}") from None
    if not answer.is_success:
        raise RetinaUnavailable(f"Retina does not load {name}: {answer.text.strip()}")


def forget_shared_memory(region: str) -> None:
    """Remove what a Triton that was killed left in shared memory."""
    for segment in _SHARED_MEMORY.glob(f"{region}*"):
        segment.unlink(missing_ok=True)


def _tracing(endpoint: str) -> list[str]:
    if not endpoint:
        return []
    return [
        "mode=opentelemetry",
        "level=TIMESTAMPS",
        f"rate={_NEVER_BY_ITSELF}",
        f"opentelemetry,url={endpoint}",
    ]


def _with_versions(repository: Path) -> list[str]:
    """Return the models that have a version; Triton does not start with one that has none."""
    return sorted(
        {
            config.parent.name
            for config in repository.glob("*/config.pbtxt")
            if any(folder.name.isdecimal() for folder in config.parent.iterdir())
        }
    )


def _layout(environment: Path) -> dict[str, Any]:
    python = environment / "bin" / "python"
    if not python.exists():
        raise ConfigurationError(
            f"Retina's environment {environment} does not exist; `make retina` makes it, or set"
            " retina.environment"
        )
    asked = subprocess.run(
        [python, "-c", _LAYOUT], capture_output=True, text=True, timeout=_ASK_SECONDS, check=False
    )
    if asked.returncode != 0:
        raise ConfigurationError(f"{python} does not run: {asked.stderr.strip()}")
    layout: dict[str, Any] = json.loads(asked.stdout)
    if not (Path(layout["packages"]) / "pytriton" / "tritonserver").is_dir():
        raise ConfigurationError(
            f"{environment} has no Triton; run `make retina`, or install embark[retina] there"
        )
    return layout


def _backends(server: Path, folder: Path, version: str) -> Path:
    """Put the Python backend together: its library needs the stub of one Python beside it."""
    python = folder / "python"
    shutil.rmtree(python, ignore_errors=True)
    python.mkdir(parents=True)
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        raise ConfigurationError(
            f"Triton's Python backend knows no Python {version}; make Retina's environment with"
            " Python 3.10 to 3.13"
        )
    for source in (*(server / "backends" / "python").iterdir(), stub):
        shutil.copy2(source, python)
    (python / stub.name).chmod(0o755)
    return folder.absolute()
