"""An encoder that is a class in somebody's Python module: `my_package.my_module:MyEncoder`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from embark.errors import ConfigurationError
from export.encoders.base import Encoder

_OURS = ("export", "embark")
_PACKAGES = "site-packages"


def open_class(target: str) -> Encoder:
    """Return the encoder that `module:name` says: a class without arguments, or an instance.

    Raises:
        ConfigurationError: there is no such module or name, or it is no encoder.
    """
    module_name, _, name = target.partition(":")
    if module_name.endswith(".py"):
        raise ConfigurationError(
            f"{target} names a file; name the module instead, from the folder that holds it:"
            f" {Path(module_name).stem}:{name}"
        )
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ConfigurationError(
            f"{module_name} cannot be imported ({error!r}); run from the folder that holds it, or"
            " install it"
        ) from error
    found = getattr(module, name, None)
    if found is None:
        raise ConfigurationError(f"{module_name} has no {name!r}")
    if isinstance(found, type) and issubclass(found, Encoder):
        try:
            found = found()
        except Exception as error:
            raise ConfigurationError(f"{target} cannot be made: {error}") from error
    if not isinstance(found, Encoder):
        raise ConfigurationError(f"{target} is not an export.Encoder, nor a class of one")
    return found


def class_sources(encoder: type[Encoder]) -> Iterator[str | bytes]:
    """Return the Python files that a class is made of, each as its path and its content.

    Those of its package, and what it has imported from the folder that holds the package. Of
    shipped encoders nothing: `export.identity` knows their files.
    """
    top = encoder.__module__.partition(".")[0]
    if top in _OURS:
        return
    yield f"{encoder.__module__}:{encoder.__qualname__}"
    file = getattr(sys.modules[encoder.__module__], "__file__", None)
    if file is None:
        return
    depth = encoder.__module__.count(".")
    is_package = Path(file).name == "__init__.py"
    root = Path(file).parents[depth + is_package].resolve()
    files = _imported_below(root)
    if depth or is_package:
        own = (root / top).rglob("*.py")
        files |= {path for path in own if _PACKAGES not in path.parts}
    for path in sorted(files):
        yield str(path.relative_to(root))
        yield path.read_bytes()


def _imported_below(root: Path) -> set[Path]:
    found = set()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        # Some modules of torch name files that do not exist.
        if file is None or not Path(file).is_absolute() or name.partition(".")[0] in _OURS:
            continue
        path = Path(file).resolve()
        if path.is_relative_to(root) and path.suffix == ".py" and _PACKAGES not in path.parts:
            found.add(path)
    return found
