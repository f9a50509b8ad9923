"""The interface of preprocessing: payloads to prepared inputs, prepared inputs to tensors.

Implementations: `pixels`, `tokens`, `custom`; `opening` makes the one that a folder describes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

Tensors = dict[str, npt.NDArray[Any]]


class Preparer(ABC):
    """Prepares one kind of input."""

    @abstractmethod
    def prepare(self, payload: bytes) -> Any:
        """Return one prepared input, to be given to `collate`.

        Args:
            payload: UTF-8 text or an encoded image.

        Raises:
            InvalidInput: it can never be embedded.
        """

    @abstractmethod
    def collate(self, prepared: Sequence[Any], *, padded: bool = True) -> Tensors:
        """Return the encoder's tensors for one batch, first axis len(prepared).

        Args:
            prepared: what `prepare` returned, at least one.
            padded: pad as in serving, or else as little as the batch allows.
        """

    def batches(self, prepared: Sequence[Any]) -> list[tuple[list[int], Tensors]]:
        """Return the batches to send: positions in `prepared`, and their tensors."""
        return [(list(range(len(prepared))), self.collate(prepared))] if prepared else []
