"""Settings: one typed tree, filled from defaults, then a TOML file, then environment variables.

Later sources win, command-line flags over all. A variable is named after its path:
`EMBARK_GATEWAY__PORT` sets `gateway.port`. A name that no setting has is an error wherever it
appears. Every leaf remembers where its value came from (`embark doctor` prints it).
docs/configuration.md is generated from this module.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embark.errors import ConfigurationError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENV_PREFIX = "EMBARK_"
FILE_VARIABLE = "EMBARK_CONFIG"
DEFAULT_FILE = Path("embark.toml")

_MIB = 2**20


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GatewaySettings(_Section):
    """EmbArk itself: the HTTP service."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=1, le=65535, description="Port to listen on.")
    processes: int = Field(2, ge=1, le=256, description="Worker processes.")
    threads: int = Field(16, ge=1, le=512, description="Threads of each worker process.")
    max_body_bytes: int = Field(40 * _MIB, ge=1024, description="Largest request body.")
    max_items: int = Field(1000, ge=1, le=100_000, description="Most items in one request.")
    max_wait_ms: int = Field(30_000, ge=0, description="Longest wait_ms that a lookup may ask.")
    max_waiting: int = Field(
        8, ge=0, description="Lookups of one process that may wait at once; more answer as oov."
    )
    archive_timeout_ms: int = Field(50, ge=1, description="Deadline of one archive read.")
    miss_buffer_items: int = Field(
        20_000, ge=1, description="Misses held in memory until the queue has them."
    )
    miss_buffer_bytes: int = Field(
        128 * _MIB, ge=1, description="Bytes of misses held in memory until the queue has them."
    )
    miss_ack_ms: int = Field(
        10,
        ge=0,
        le=100,
        description="Longest that a lookup with misses waits to report them as queued; "
        "0 never waits. A queue in trouble is not waited for.",
    )
    in_flight_seconds: float = Field(
        15, gt=0, description="How long a queued key is not queued again by the same process."
    )


class InputSettings(_Section):
    """What an input may be, wherever it comes in."""

    max_text_bytes: int = Field(64 * 1024, ge=1, description="Longest text, in UTF-8.")
    max_url_chars: int = Field(2048, ge=16, description="Longest image URL.")
    max_image_bytes: int = Field(25 * _MIB, ge=1, description="Largest image file.")
    max_pixels: int = Field(50_000_000, ge=1, description="Most pixels of an image.")


class ArchiveSettings(_Section):
    """Where vectors are kept."""

    backend: Literal["lmdb"] = Field("lmdb", description="Store implementation.")
    max_bytes: int = Field(64 * 2**30, ge=_MIB, description="Bound of the embedded archive's file.")


class QueueSettings(_Section):
    """Where requests wait for a consumer."""

    backend: Literal["sqlite"] = Field("sqlite", description="Queue implementation.")
    lease_seconds: float = Field(
        15, gt=0, description="How long a delivered request stays with a silent consumer."
    )
    max_attempts: int = Field(
        6, ge=1, description="Attempts after which an input is remembered as failed."
    )
    retry_base_seconds: float = Field(0.5, gt=0, description="Delay before the second attempt.")
    retry_max_seconds: float = Field(60, gt=0, description="Longest delay between attempts.")


class RetinaSettings(_Section):
    """Triton, and the models it serves."""

    url: str = Field(
        "127.0.0.1:8001", description="host:port of Triton's gRPC endpoint, for consumers."
    )
    model_repository: Path = Field(
        Path("model_repository"), description="Folder that `embark export` writes."
    )
    environment: Path = Field(
        Path(".venv-retina"),
        description="Python environment with Triton in it, for `embark up`.",
    )
    timeout_seconds: float = Field(
        30, gt=0, description="Longest that one inference request may take, queueing included."
    )


class FetchSettings(_Section):
    """Fetching images by URL."""

    threads: int = Field(16, ge=1, le=256, description="Fetches at once.")
    per_host: int = Field(4, ge=1, description="Fetches at once from one host.")
    timeout_seconds: float = Field(10, gt=0, description="Longest that one fetch may take.")
    connect_timeout_seconds: float = Field(3, gt=0, description="Longest for one connection.")
    max_redirects: int = Field(5, ge=0, le=20, description="Redirects followed.")
    allow_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description="Networks that may be fetched from although they are not public."
    )


class ConsumerSettings(_Section):
    """KFC: the workers between queue, Retina and archive."""

    processes: int = Field(1, ge=1, le=64, description="Consumers that `embark up` starts.")
    max_in_flight: int = Field(
        256, ge=1, description="Requests taken from the queue and not finished, at most."
    )
    max_in_flight_bytes: int = Field(
        128 * _MIB, ge=_MIB, description="Bytes of inputs taken and not finished, at most."
    )
    max_bulk_in_flight: int = Field(
        64, ge=1, description="How many of those may be bulk, so that interactive work passes."
    )
    inferences: int = Field(
        16, ge=1, le=256, description="Inference requests at once, in each lane."
    )
    text_batch: int = Field(16, ge=1, le=1024, description="Texts in one inference request.")
    failure_seconds: float = Field(
        3600, gt=0, description="How long a failed input is remembered as failed."
    )
    gave_up_seconds: float = Field(
        300,
        gt=0,
        description="The same, for one that was given up after the last temporary failure.",
    )
    fetch: FetchSettings = FetchSettings()


class LogSettings(_Section):
    """Logs."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Level.")
    format: Literal["console", "json"] = Field("console", description="For people or machines.")


class Settings(_Section):
    """All settings.

    Attributes:
        data: folder of the embedded archive, queue and logs.
    """

    data: Path = Field(Path("embark-data"), description="Folder of archive, queue and logs.")
    inputs: InputSettings = InputSettings()
    gateway: GatewaySettings = GatewaySettings()
    archive: ArchiveSettings = ArchiveSettings()
    queue: QueueSettings = QueueSettings()
    retina: RetinaSettings = RetinaSettings()
    consumer: ConsumerSettings = ConsumerSettings()
    log: LogSettings = LogSettings()


@dataclass(frozen=True)
class Leaf:
    """One setting: its dotted path, value, and the source the value came from."""

    path: str
    value: Any
    source: str


@dataclass(frozen=True)
class Configuration:
    """Validated settings and the source of every leaf that is not a default."""

    settings: Settings
    sources: Mapping[str, str]

    def leaves(self) -> Iterator[Leaf]:
        """Yield every setting in order, with its source."""
        for path, value in _leaves(self.settings):
            yield Leaf(path, value, self.sources.get(path, "default"))


def load(
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Configuration:
    """Read the configuration.

    Args:
        file: TOML file; None for the one `EMBARK_CONFIG` names, else `embark.toml` if it exists.
        environment: None for the process's own.
        overrides: values from the command line, by dotted path; None values are ignored.

    Raises:
        ConfigurationError: a file, name or value is wrong; the message says which and from where.
    """
    environ = os.environ if environment is None else environment
    tree: dict[str, Any] = {}
    sources: dict[str, str] = {}
    path = file or _default_file(environ)
    if path is not None:
        for name, value in _flatten(_read_toml(path)):
            _put(tree, sources, name, value, str(path))
    for variable, value in sorted(environ.items()):
        if variable.startswith(ENV_PREFIX) and variable != FILE_VARIABLE:
            name = variable.removeprefix(ENV_PREFIX).lower().replace("__", ".")
            _put(tree, sources, name, _split_list(name, value), variable)
    for name, value in (overrides or {}).items():
        if value is not None:
            _put(tree, sources, name, value, "command line")
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, sources)) from None
    return Configuration(settings, sources)


def to_environment(configuration: Configuration) -> dict[str, str]:
    """Return the variables that give another process the same settings."""
    return {
        ENV_PREFIX + leaf.path.upper().replace(".", "__"): _as_text(leaf.value)
        for leaf in configuration.leaves()
        if leaf.source != "default"
    }


def _default_file(environ: Mapping[str, str]) -> Path | None:
    if environ.get(FILE_VARIABLE):
        return Path(environ[FILE_VARIABLE])
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        tree: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from None
    return tree


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _put(tree: dict[str, Any], sources: dict[str, str], name: str, value: Any, source: str) -> None:
    if name not in _NAMES:
        raise ConfigurationError(
            f"{source} sets {name}, which is no setting; see docs/configuration.md"
        )
    *parents, leaf = name.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[leaf] = value
    sources[name] = source


def _split_list(name: str, value: str) -> Any:
    if isinstance(_NAMES.get(name), tuple):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _as_text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _leaves(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _explain(error: ValidationError, sources: Mapping[str, str]) -> str:
    lines = []
    for detail in error.errors():
        path = ".".join(str(part) for part in detail["loc"] if isinstance(part, str))
        name = next((known for known in sources if path.startswith(known)), path)
        lines.append(
            f"{name} = {detail['input']!r} (from {sources.get(name, 'default')}): {detail['msg']}"
        )
    return "; ".join(lines)


_NAMES = dict(_leaves(Settings()))
