"""Finding TensorRT and loading it, and what it says when it cannot work.

NVIDIA's container has the package `tensorrt`, libraries included. Elsewhere the package
`tensorrt_bindings` comes from PyPI, and the libraries are a folder: the one that the variable
TENSORRT_LIBRARIES names, `.cache/tensorrt` (`export.tensorrt.fetch` fills it), or wherever the
system's loader looks.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from embark.errors import EmbArkError

FETCHED = Path(".cache") / "tensorrt"
VARIABLE = "TENSORRT_LIBRARIES"

# In this order: each needs those before it.
_LIBRARIES = ("libnvinfer.so", "libnvinfer_plugin.so", "libnvonnxparser.so")
_HINT = (
    "pip install 'embark[tensorrt]', fetch the libraries with `python -m export.tensorrt.fetch`, or"
    " work in NVIDIA's TensorRT container"
)


@dataclass(frozen=True)
class TensorRt:
    """The loaded library.

    Attributes:
        module: `tensorrt`, or `tensorrt_bindings`, which has the same names.
        logger: an `ILogger` for whatever the library makes.
        said: warnings and errors that it logged, oldest first.
        errors: the errors among them.
    """

    module: Any
    logger: Any
    said: list[str]
    errors: list[str]

    @property
    def version(self) -> str:
        """TensorRT's version, such as 11.2.1.2."""
        return str(self.module.__version__)

    def builder(self) -> Any:
        """Return a `Builder`.

        Raises:
            EmbArkError: `tensorrt_unavailable`; the library cannot use a GPU here.
        """
        self.said.clear()
        self.errors.clear()
        try:
            return self.module.Builder(self.logger)
        except (TypeError, RuntimeError) as error:
            why = self.errors[0] if self.errors else str(error)
            raise unavailable(
                f"TensorRT {self.version} cannot use a GPU on this machine: {why}. Build engines on"
                " a machine with an NVIDIA GPU and its driver; elsewhere another --backend serves"
                " the same graph"
            ) from None

    def runtime(self) -> Any:
        """Return a `Runtime`.

        Raises:
            EmbArkError: `tensorrt_unavailable`; the library cannot use a GPU here.
        """
        # Without a driver a Runtime is made, and crashes when it ends; a Builder is refused.
        self.builder()
        return self.module.Runtime(self.logger)

    def last_words(self) -> str:
        """Return the errors and warnings as one line."""
        return "; ".join(dict.fromkeys(self.said)) or "nothing"


def load(libraries: Path | None = None) -> TensorRt:
    """Return TensorRT.

    Args:
        libraries: folder of the shared libraries; None looks where the module says.

    Raises:
        EmbArkError: `tensorrt_unavailable`; it is not installed, and how to get it.
    """
    module = _bundled() if libraries is None else None
    if module is None:
        module = _bindings(_folder() if libraries is None else libraries)
    return _with_logger(module)


@cache
def _with_logger(module: Any) -> TensorRt:
    # The library keeps its first logger for good, so that logger must never end.
    said: list[str] = []
    errors: list[str] = []
    return TensorRt(module, _logger(module, said, errors), said, errors)


def unavailable(message: str) -> EmbArkError:
    """Return the error that says that TensorRT cannot be used here."""
    return EmbArkError(message, code="tensorrt_unavailable")


def _bundled() -> Any:
    try:
        return importlib.import_module("tensorrt")
    except (ImportError, OSError):
        return None


def _folder() -> Path | None:
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    return FETCHED if FETCHED.is_dir() else None


def _bindings(libraries: Path | None) -> Any:
    if libraries is not None:
        _preload(libraries)
    try:
        return importlib.import_module("tensorrt_bindings")
    except ModuleNotFoundError:
        raise unavailable(f"TensorRT is not installed: {_HINT}") from None
    except (ImportError, OSError) as error:
        raise unavailable(f"TensorRT's libraries do not load ({error}): {_HINT}") from None


def _preload(folder: Path) -> None:
    """Load the libraries by path: LD_LIBRARY_PATH would have to be set before Python starts."""
    for name in _LIBRARIES:
        found = sorted(folder.glob(f"{name}*"))
        if not found:
            raise unavailable(f"there is no {name} in {folder}: {_HINT}")
        try:
            ctypes.CDLL(str(found[0].resolve()), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise unavailable(f"{found[0]} does not load: {error}") from None


def _logger(module: Any, said: list[str], errors: list[str]) -> Any:
    severities = module.ILogger.Severity

    class Logger(module.ILogger):  # type: ignore[misc]
        """Keeps warnings and errors; the library would print them."""

        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            """Called by the library."""
            failed = severity in (severities.INTERNAL_ERROR, severities.ERROR)
            if failed:
                errors.append(message.strip())
            if failed or severity == severities.WARNING:
                said.append(message.strip())

    return Logger()
