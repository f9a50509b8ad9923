"""Where settings come from: defaults, then a TOML file, then environment variables.

Later sources win, command-line flags over all. A variable is named after its path:
`EMBARK_GATEWAY__PORT` sets `gateway.port`. A name that no setting has is an error wherever it
appears. Every leaf remembers where its value came from (`embark doctor` prints it). The settings
themselves are `embark.settings`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError

from embark.errors import ConfigurationError
from embark.settings import Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENV_PREFIX = "EMBARK_"
FILE_VARIABLE = "EMBARK_CONFIG"
DEFAULT_FILE = Path("embark.toml")


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
            _put(tree, sources, name, _from_text(name, value), variable)
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


def _from_text(name: str, value: str) -> Any:
    default = _NAMES.get(name)
    if isinstance(default, tuple):
        return [part.strip() for part in value.split(",") if part.strip()]
    return None if default is None and value == "" else value


def _as_text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if value is None:
        return ""
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
        name = next((known for known in sources if f"{path}.".startswith(f"{known}.")), path)
        if isinstance(_NAMES.get(name), SecretStr):
            shown = "(secret)"
        elif isinstance(detail["input"], dict | BaseModel):
            # A rule over several settings: their values may hold secrets.
            shown = ""
        else:
            shown = f" = {detail['input']!r}"
        origin = sources.get(name, "default") if name in _NAMES else "several settings"
        lines.append(f"{name or 'settings'}{shown} (from {origin}): {detail['msg']}")
    return "; ".join(lines)


_NAMES = dict(_leaves(Settings()))
