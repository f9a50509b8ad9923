"""A TOML file as a validated tree, or an error that says where it is wrong and why."""

from __future__ import annotations

import sys
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from embark.errors import ConfigurationError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Section(BaseModel):
    """A table of the file: frozen, and without unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Tree = TypeVar("Tree", bound=Section)


def parse(text: str, kind: type[Tree], name: str) -> Tree:
    """Return the tree that `text` holds.

    Args:
        text: TOML.
        kind: what it must be.
        name: what errors call it.

    Raises:
        ConfigurationError: not TOML, or a name or value is wrong; says all that are.
    """
    try:
        return kind.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{name} is not valid TOML: {error}") from None
    except ValidationError as error:
        raise ConfigurationError(f"{name}: {_explain(error)}") from None


def _explain(error: ValidationError) -> str:
    lines = []
    for detail in error.errors():
        path = ".".join(map(str, detail["loc"]))
        shown = "" if isinstance(detail["input"], dict) else f" = {detail['input']!r}"
        lines.append(f"{path}{shown}: {detail['msg']}".lstrip(": "))
    return "; ".join(lines)
