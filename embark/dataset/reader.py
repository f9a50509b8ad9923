"""`Dataset`: reads what `embark archive export --format memmap` wrote.

dataset = Dataset(Path("vectors"))
vectors, found = dataset.get(["a text", "another"])
dataset.embeddings  # all of them, (count, dimension), mapped into memory
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from embark.client import Sendable
from embark.dataset import digests as digesting
from embark.dataset.digests import Digests, Rows
from embark.dataset.manifest import (
    DIGESTS_FILE,
    EMBEDDINGS_FILE,
    OOV_FILE,
    ROWS_FILE,
    read_manifest,
)
from embark.errors import ConfigurationError


class Found(NamedTuple):
    """What a dataset has of some inputs.

    Attributes:
        vectors: shape (inputs, dimension), of the stored type; zeros where there is none.
        found: which rows are vectors; shape (inputs,).
    """

    vectors: npt.NDArray[np.floating[Any]]
    found: npt.NDArray[np.bool_]


class Dataset:
    """The vectors of one generation. Safe for many threads and, after fork, many processes.

    Nothing is read into memory before it is asked for; a pickled one opens the folder again.

    Args:
        folder: that `embark archive export` wrote.

    Attributes:
        manifest: which model and generation, and what was left out.
        embeddings: shape (count, dimension), float16 or float32, in the order of the digests.
        digests: uint8, shape (count, 16), sorted.
        rows: int64, for each line of `--inputs` the row of its vector, -1 where there is none;
            None for a whole generation.
        oov: the model's out-of-vocabulary vector at the time, float32, shape (dimension,).

    Raises:
        ConfigurationError: the folder holds no dataset of this format, or a damaged one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder: Final = folder
        self.manifest: Final = read_manifest(folder)
        count, dimension = self.manifest.count, self.manifest.dimension
        self.embeddings: Final[npt.NDArray[np.floating[Any]]] = self._open(
            EMBEDDINGS_FILE, (count, dimension), self.manifest.dtype
        )
        self.digests: Final[Digests] = self._open(DIGESTS_FILE, (count, 16), "uint8")
        self.oov: Final[npt.NDArray[np.float32]] = self._open(OOV_FILE, (dimension,), "float32")
        lines = self.manifest.inputs
        self.rows: Final[Rows | None] = (
            None if lines is None else self._open(ROWS_FILE, (lines,), "int64")
        )

    def __reduce__(self) -> tuple[type[Dataset], tuple[Path]]:
        return Dataset, (self._folder,)

    def __len__(self) -> int:
        return self.manifest.count

    def find(self, wanted: Digests | Sequence[Sendable]) -> Rows:
        """Return the row of each input or digest, -1 where there is none.

        Args:
            wanted: texts, images, URLs or keys of the model; or digests, uint8 of shape (n, 16).

        Raises:
            BadRequest: an input has no canonical form, or is a key of another model.
        """
        if not isinstance(wanted, np.ndarray):
            model = self.manifest.model
            wanted = digesting.as_array(digesting.digest_of(one, model) for one in wanted)
        return digesting.find(self.digests, wanted)

    def get(self, wanted: Digests | Sequence[Sendable]) -> Found:
        """Return the vectors of inputs or digests, in order.

        Args:
            wanted: see `find`.

        Raises:
            BadRequest: see `find`.
        """
        rows = self.find(wanted)
        found = rows >= 0
        vectors = np.zeros((len(rows), self.manifest.dimension), self.manifest.dtype)
        vectors[found] = self.embeddings[rows[found]]
        return Found(vectors, found)

    def _open(self, name: str, shape: tuple[int, ...], dtype: str) -> npt.NDArray[Any]:
        path = self._folder / name
        try:
            # An empty file cannot be mapped.
            array: npt.NDArray[Any] = np.load(
                path, mmap_mode="r" if shape[0] else None, allow_pickle=False
            )
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{path} cannot be read: {error}") from error
        if array.shape != shape or array.dtype != np.dtype(dtype):
            raise ConfigurationError(
                f"{path} is {array.dtype} {array.shape}; {dtype} {shape} is expected: export again"
            )
        return array
