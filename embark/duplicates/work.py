"""The work folder: vectors that have come, so that an interrupted run goes on where it was.

    WORK/<what they belong to>/vectors    a row for each input, in the model's own number type
                              /states     a byte for each: waiting, here, failed
                              /failures   a line for each failure: row, code, message

What they belong to is hashed into the folder's name: the inputs, model and generation. A changed
catalogue or another generation has another folder, and what is in the folder is never wrong.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from embark.errors import ConfigurationError

WAITING, HERE, FAILED = 0, 1, 2

Vectors = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]


class Shelf:
    """The vectors of some inputs under one generation, in files mapped into memory.

    Args:
        folder: the work folder.
        model: as `Client.models` describes it.
        inputs: what the rows are of, in order.

    Raises:
        ConfigurationError: the folder cannot be written.
    """

    def __init__(self, folder: Path, model: dict[str, Any], inputs: Sequence[str]) -> None:
        self.model: Final = str(model["name"])
        self.generation: Final = str(model["generation"])
        self._folder: Final = folder / f"{self.model}-{_tie(model, inputs)}"
        shape = len(inputs), int(model["dimension"])
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self.vectors: Final[Vectors] = _mapped(
                self._folder / "vectors", shape, np.dtype(model["dtype"])
            )
            self._states: Final[Vectors] = _mapped(
                self._folder / "states", shape[:1], np.dtype(np.uint8)
            )
            self.failures: Final = self._read_failures()
        except OSError as error:
            raise ConfigurationError(
                f"the work folder {self._folder} cannot be used: {error.strerror}"
            ) from None

    def __len__(self) -> int:
        return len(self._states)

    def waiting(self) -> Rows:
        """Return the rows that have neither vector nor failure, in order."""
        return np.flatnonzero(self._states == WAITING)

    def here(self) -> npt.NDArray[np.bool_]:
        """Return which rows have a vector, shape (inputs,)."""
        found: npt.NDArray[np.bool_] = self._states == HERE
        return found

    def retry_failures(self) -> None:
        """Let what failed be asked again."""
        self._states[self._states == FAILED] = WAITING
        self.failures.clear()
        (self._folder / "failures").unlink(missing_ok=True)

    def put(self, rows: Rows, vectors: Vectors) -> None:
        """Keep vectors; the state follows its vector."""
        self.vectors[rows] = vectors
        self._states[rows] = HERE

    def fail(self, row: int, code: str, message: str) -> None:
        """Remember that an input has no vector, and why."""
        with (self._folder / "failures").open("a", encoding="utf-8") as file:
            file.write(json.dumps([row, code, message]) + "\n")
        self.failures[row] = (code, message)
        self._states[row] = FAILED

    def _read_failures(self) -> dict[int, tuple[str, str]]:
        path = self._folder / "failures"
        if not path.exists():
            return {}
        failures: dict[int, tuple[str, str]] = {}
        for line in path.read_text("utf-8").splitlines():
            # A line that was cut off has left its row waiting: it is asked again.
            if line.endswith("]"):
                row, code, message = json.loads(line)
                failures[row] = (code, message)
        return failures


def _tie(model: dict[str, Any], inputs: Sequence[str]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in (str(model["name"]), str(model["generation"]), *inputs):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


def _mapped(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Vectors:
    """Map a file of zeros at first."""
    size = int(np.prod(shape)) * dtype.itemsize
    if size == 0:
        return np.zeros(shape, dtype)
    if not path.exists() or path.stat().st_size != size:
        with path.open("wb") as file:
            file.truncate(size)
    return np.memmap(path, dtype, "r+", shape=shape)
