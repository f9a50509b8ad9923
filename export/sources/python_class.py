"""An encoder that is a class in somebody's Python module: `my_package.my_module:MyEncoder`."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from embark.errors import ConfigurationError
from export.encoders.base import Encoder

_OURS = ("export", "embark")
_INSTALLED = ("site-packages", "dist-packages")


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

    Its module's, and those that this imports, directly or not, wherever the statement stands; of an
    installed package its own files only. What else this process has imported takes no part. Of
    shipped encoders nothing: `export.identity` knows their files.
    """
    module = encoder.__module__
    if module.partition(".")[0] in _OURS:
        return
    yield f"{module}:{encoder.__qualname__}"
    named = getattr(sys.modules[module], "__file__", None)
    if named is None:
        return
    file = Path(named).resolve()
    root = file.parents[module.count(".") + (file.name == "__init__.py")]
    within = module.partition(".")[0] if root.name in _INSTALLED else ""
    for path in sorted(_with_imports([file, *_files(module, root)], root, within)):
        yield str(path.relative_to(root))
        yield path.read_bytes()


def _with_imports(files: Iterable[Path], root: Path, within: str) -> set[Path]:
    """Return files and what they import, directly or not, of the modules below `root`.

    Args:
        files: where to begin.
        root: the folder that holds the top package or module.
        within: a top package or module that is not left; empty is any.
    """
    found: set[Path] = set()
    waiting = list(files)
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for name in _imported(path, root):
            top = name.partition(".")[0]
            if top not in _OURS and within in ("", top):
                waiting += _files(name, root)
    return found


def _files(name: str, root: Path) -> Iterator[Path]:
    """Return the files below `root` that importing a dotted name runs."""
    place = root
    for part in name.split("."):
        place = place / part
        either = (place.with_name(f"{part}.py"), place / "__init__.py")
        yield from (one for one in either if one.is_file())


def _imported(file: Path, root: Path) -> Iterator[str]:
    """Return the names of what a file's statements import; some may be no modules."""
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:
        return  # nothing can import it
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = file.relative_to(root).parts[: -node.level] if node.level else ()
            base = ".".join((*above, *([node.module] if node.module else [])))
            yield from (f"{base}.{one.name}" if base else one.name for one in node.names)
