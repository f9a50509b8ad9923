"""An encoder's samples and the vectors that are right, to compare what was compiled with.

Not for how near is near enough: `export.verification`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from embark.errors import ConfigurationError
from export import graph
from export.encoders.base import Encoder
from export.serving.preparer import Tensors
from export.verification import Verification, verify

if TYPE_CHECKING:
    import torch

Run = Callable[[Tensors], npt.NDArray[np.float32]]


class Comparison:
    """Samples, prepared, and their right vectors, float32 (samples, dimension)."""

    def __init__(
        self, encoder: Encoder, prepared: Sequence[Any], expected: npt.NDArray[np.float32]
    ) -> None:
        self._encoder = encoder
        self._prepared = prepared
        self._expected = expected

    @classmethod
    def with_module(cls, encoder: Encoder, module: torch.nn.Module) -> Comparison:
        """Return a comparison with PyTorch, one unpadded input at a time.

        Make it before compiling: of a module that is not what it states, this says so most clearly.

        Raises:
            ConfigurationError: the module fails, or is not what the encoder states.
        """
        prepared = graph.prepare(encoder, graph.samples_of(encoder))
        expected = graph.reference_vectors(encoder, module, prepared)
        if len(expected) > 1 and (expected == expected[0]).all():
            raise ConfigurationError(
                f"{encoder.name}: all {len(expected)} samples have the same vector; look at the"
                " weights, or give samples() that differ"
            )
        return cls(encoder, prepared, expected)

    @classmethod
    def with_graph(cls, encoder: Encoder, compiled: Path) -> Comparison:
        """Return a comparison with a published graph, one unpadded input at a time."""
        prepared = graph.prepare(encoder, graph.samples_of(encoder))
        run = graph.open_graph(compiled)
        rows = [run(encoder.preparer.collate([one], padded=False)) for one in prepared]
        return cls(encoder, prepared, np.concatenate(rows))

    def verify(self, run: Run, precision: str) -> Verification:
        """Compare what runs tensors in a precision; see `export.verification.verify`."""
        return verify(
            self._encoder.name,
            run,
            self._expected,
            self._batch,
            self._encoder.threshold(precision),
            max_batch_size=self._encoder.max_batch_size,
        )

    def _batch(self, positions: Sequence[int]) -> Tensors:
        return self._encoder.preparer.collate([self._prepared[one] for one in positions])
