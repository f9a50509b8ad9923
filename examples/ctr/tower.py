"""The text tower as an encoder of one's own: what `embark export` is told to compile.

Tokens → LSTM → self-attention → 64 numbers of length 1. Trained by `towers`, which writes the
weights that `--weights` names. Not for images: the picture's tower is a shipped encoder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from examples.ctr import texts, tokens
from export import CustomPreprocessing, Encoder, Modality, Tensor

if TYPE_CHECKING:
    import torch

MODEL = "ctr_text"
DIMENSION = 64
_SAMPLES = 32


class TextTower(Encoder):
    """See the module."""

    name = MODEL
    modality = Modality.TEXT
    dimension = DIMENSION
    max_batch_size = 64
    origin = "seeded random weights: train the tower, and name its file by --weights"
    preprocessing = CustomPreprocessing(
        Path(tokens.__file__),
        (Tensor("IDS", "int64", (tokens.LENGTH,)), Tensor("MASK", "int64", (tokens.LENGTH,))),
    )

    def module(self) -> torch.nn.Module:
        """Return the network, untrained."""
        import torch

        from export.encoders.attentive_lstm import AttentiveLstm

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return AttentiveLstm(
                tokens.VOCABULARY,
                embedding=32,
                hidden=48,
                attention=32,
                hops=2,
                dimension=DIMENSION,
            )

    def samples(self) -> list[bytes]:
        """Return texts like those that it is trained on, and an empty one."""
        wording = texts.draw(_SAMPLES, np.random.default_rng(0))
        return [b"", *(texts.compose(wording, item).encode() for item in range(_SAMPLES))]
