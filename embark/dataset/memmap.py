"""Writes a dataset as NumPy arrays: vectors and their digests, sorted, for mapping into memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from embark.dataset import digests as digesting
from embark.dataset.digests import Digests
from embark.dataset.manifest import DIGESTS_FILE, EMBEDDINGS_FILE, ROWS_FILE
from embark.dataset.records import Page
from embark.keys import DIGEST_BYTES


class GrowingArray:
    """A .npy file whose number of rows is known when it is closed.

    Args:
        path: of the file.
        row_shape: shape of a row.
        dtype: of the numbers.
    """

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: str) -> None:
        self._row_shape: Final = row_shape
        self._dtype: Final = np.dtype(dtype).newbyteorder("<")
        self._rows = 0
        self._file: Final = path.open("wb")
        self._data_at: Final = self._write_header()

    def __enter__(self) -> GrowingArray:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._file:
            # numpy leaves room in the header for the number of rows to grow.
            if self._write_header() != self._data_at:
                raise AssertionError("the header has another length than at first")

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Write rows, shape (n, *row_shape)."""
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)
        self._rows += len(rows)

    def _write_header(self) -> int:
        self._file.seek(0)
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "shape": (self._rows, *self._row_shape),
                "fortran_order": False,
                "descr": np.lib.format.dtype_to_descr(self._dtype),
            },
        )
        return self._file.tell()


def write_memmap(folder: Path, pages: Iterable[Page], dimension: int, dtype: str) -> int:
    """Write the vectors of pages whose digests are sorted; returns how many there are."""
    count = 0
    with (
        GrowingArray(folder / EMBEDDINGS_FILE, (dimension,), dtype) as vectors,
        GrowingArray(folder / DIGESTS_FILE, (DIGEST_BYTES,), "uint8") as digests,
    ):
        for page in pages:
            vectors.append(page.vectors[page.found])
            digests.append(page.digests[page.found])
            count += int(page.found.sum())
    return count


def write_rows(folder: Path, lines: Digests) -> None:
    """Write which row each of the inputs has, -1 for none."""
    np.save(folder / ROWS_FILE, digesting.find(np.load(folder / DIGESTS_FILE), lines))
