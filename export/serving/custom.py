"""Preprocessing by a user's own file: a function `prepare(payload)` that returns arrays.

The file says of an input that it can never be embedded by raising a ValueError that has a `code`;
any other exception is an error of the file, and fails only its own request.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .invalid_input import InvalidInput
from .preparer import Preparer, Tensors

FUNCTION = "prepare"


class CustomPreparer(Preparer):
    """Runs `prepare` of a file.

    Args:
        file: the Python file.
        inputs: the arrays that it must return: `name`, `dtype` and `shape` of each.

    Raises:
        ValueError: the file cannot be imported, or has no function `prepare`.
    """

    def __init__(self, file: Path, inputs: Sequence[dict[str, Any]]) -> None:
        self._file = file
        self._inputs = {
            one["name"]: (np.dtype(one["dtype"]), tuple(one["shape"])) for one in inputs
        }
        self._prepare = _function(file)

    def prepare(self, payload: bytes) -> Tensors:
        """Return the arrays of one input, by name, without a batch axis."""
        try:
            found = self._prepare(payload)
        except ValueError as error:
            code = getattr(error, "code", None)
            if isinstance(code, str) and code.isidentifier():
                raise InvalidInput(code, str(error)) from error
            raise
        except SystemExit as error:
            raise RuntimeError(f"{FUNCTION} called exit({error.code!r})") from error
        if not isinstance(found, dict) or found.keys() != self._inputs.keys():
            raise TypeError(
                f"{FUNCTION} must return a dict with {sorted(self._inputs)}, it returned"
                f" {sorted(found) if isinstance(found, dict) else type(found).__name__}"
            )
        return {name: self._checked(name, value) for name, value in found.items()}

    def collate(self, prepared: Sequence[Tensors], *, padded: bool = True) -> Tensors:
        """Return the arrays stacked; their shapes are fixed, so nothing is padded."""
        return {name: np.stack([one[name] for one in prepared]) for name in self._inputs}

    def _checked(self, name: str, value: Any) -> npt.NDArray[Any]:
        array = np.asarray(value)
        dtype, shape = self._inputs[name]
        if array.dtype != dtype or array.shape != shape:
            raise TypeError(
                f"{FUNCTION} returned {name} as {array.dtype} of shape {array.shape}, declared is"
                f" {dtype} of shape {shape}"
            )
        return array


def _function(file: Path) -> Callable[[bytes], Any]:
    spec = importlib.util.spec_from_file_location("embark_prepare", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{file.name} cannot be imported: {error!r}") from error
    function = getattr(module, FUNCTION, None)
    if not callable(function):
        raise ValueError(f"{file.name} has no function {FUNCTION}(payload)")
    return function  # type: ignore[no-any-return]
