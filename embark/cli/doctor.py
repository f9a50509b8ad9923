"""`embark doctor`: every setting with its source, and whether each part can work."""

from __future__ import annotations

import argparse
import importlib.util
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from embark.api_keys import read_keys
from embark.backends import Backends, open_backends, require_package
from embark.cli.inputs import client_of
from embark.cli.output import console, show_json
from embark.config import Configuration, load
from embark.errors import ConfigurationError, EmbArkError
from embark.listening import gateway_url, is_loopback, require_safe
from embark.models import load_catalogue
from embark.settings import Settings

_LOW_DISK_BYTES = 5 * 2**30
_PACKAGES = {
    "gateway": ("flask", "gunicorn", "lmdb", "prometheus_client"),
    "consumers": ("PIL", "tritonclient", "urllib3", "lmdb"),
    "cassandra": ("cassandra",),
    "kafka": ("confluent_kafka",),
    "export": ("torch", "torchvision", "onnx", "onnxruntime"),
}


@dataclass(frozen=True)
class Check:
    """The outcome of one check: `ok`, `warning` or `error`, and what to do."""

    name: str
    state: str
    detail: str


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "doctor",
        help="show settings and check the installation",
        description="Show every setting with its source, and check each part. Exits 1 on an error.",
    )
    parser.add_argument("--config", type=Path, help="TOML file with settings")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print settings and checks."""
    configuration = load(file=options.config)
    checks = list(_checks(configuration.settings))
    if options.json:
        settings = [
            {"name": leaf.path, "value": _text(leaf.value), "source": leaf.source}
            for leaf in configuration.leaves()
        ]
        show_json({"settings": settings, "checks": [asdict(check) for check in checks]})
    else:
        _show(configuration, checks)
    return 1 if any(check.state == "error" for check in checks) else 0


def _checks(settings: Settings) -> Iterator[Check]:
    yield Check("python", "ok", platform.python_version())
    for extra, packages in _PACKAGES.items():
        missing = [name for name in packages if importlib.util.find_spec(name) is None]
        detail = f"lacks {', '.join(missing)}: pip install 'embark[{extra}]'"
        yield Check(extra, "warning" if missing else "ok", detail if missing else "installed")
    yield _check("models", lambda: _models(settings))
    yield _retina(settings)
    yield _data(settings)
    if settings.archive.backend == "cassandra":
        yield from _cluster(settings)
    yield _check("access", lambda: _access(settings))
    yield _gateway(settings)


def _check(name: str, probe: Callable[[], str]) -> Check:
    try:
        return Check(name, "ok", probe())
    except EmbArkError as error:
        return Check(name, "error", error.message)


def _models(settings: Settings) -> str:
    catalogue = load_catalogue(settings.retina.model_repository)
    return "; ".join(
        f"{model.name} {model.generation} ({model.facts.weights})" for model in catalogue.values()
    )


def _retina(settings: Settings) -> Check:
    environment = settings.retina.environment
    if any(environment.glob("lib/python3*/site-packages/pytriton/tritonserver/bin/tritonserver")):
        return Check("retina", "ok", f"tritonserver in {environment}")
    return Check("retina", "warning", f"no tritonserver in {environment}: run `make retina`")


def _data(settings: Settings) -> Check:
    data = settings.data.absolute()
    existing = next(folder for folder in (data, *data.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    detail = f"{data}, {free / 2**30:.1f} GiB free"
    return Check("data", "ok" if free >= _LOW_DISK_BYTES else "warning", detail)


def _cluster(settings: Settings) -> Iterator[Check]:
    yield _check("driver", _driver)
    try:
        backends = open_backends(settings)
    except EmbArkError as error:
        yield Check("archive", "error", error.message)
        return
    with closing(backends):
        yield _check("archive", lambda: _archive(settings, backends))
        yield _check("queue", lambda: _queue(settings, backends))


def _driver() -> str:
    require_package("cassandra", "archive.backend is cassandra")
    from embark.store.cassandra.driver import missing_extensions

    problem = missing_extensions()
    if problem is not None:
        raise ConfigurationError(problem)
    return "cassandra-driver with its C extensions"


def _archive(settings: Settings, backends: Backends) -> str:
    backends.store.check()
    cassandra = settings.archive.cassandra
    return f"Cassandra at {','.join(cassandra.contact_points)}:{cassandra.port} answers"


def _queue(settings: Settings, backends: Backends) -> str:
    waits = {lane.value: status.depth for lane, status in backends.queue.status().items()}
    described = ", ".join(f"{lane} {depth}" for lane, depth in waits.items())
    return f"{settings.queue.backend} answers; waiting: {described}"


def _access(settings: Settings) -> str:
    gateway = settings.gateway
    require_safe(gateway)
    if gateway.keys_file is None:
        return "open: no keys, and this machine only"
    names = {key.name for key in read_keys(gateway.keys_file)}
    plain = "" if gateway.tls.certificate else "; without TLS, keys can be read on their way"
    return f"{len(names)} names with keys{'' if is_loopback(gateway.host) else plain}"


def _gateway(settings: Settings) -> Check:
    url = gateway_url(settings.gateway)
    try:
        with client_of(settings, timeout_s=2, retries=0) as client:
            health = client.health()
    except ConfigurationError as error:
        return Check("gateway", "error", error.message)
    except EmbArkError:
        return Check("gateway", "warning", f"does not answer at {url}; `embark up` starts it")
    states = ", ".join(f"{name} {state['state']}" for name, state in health["dependencies"].items())
    return Check("gateway", "ok" if health["ready"] else "error", f"{url}: {states}")


def _show(configuration: Configuration, checks: list[Check]) -> None:
    settings = Table("setting", "value", "from", box=None)
    for leaf in configuration.leaves():
        settings.add_row(leaf.path, _text(leaf.value), leaf.source)
    console.print(settings)
    console.print()
    table = Table("check", "state", "", box=None)
    for check in checks:
        table.add_row(check.name, check.state, check.detail)
    console.print(table)


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
