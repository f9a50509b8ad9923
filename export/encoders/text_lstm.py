"""`text_lstm`: a bidirectional LSTM with structured self-attention, texts to 256 dimensions.

The text tower that Taboola's article puts in front of its archive. No trained weights of it are
published, so its own are seeded; bring others with `--weights`. Tokens are minilm's WordPiece.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from embark.errors import ConfigurationError
from embark.inputs import Modality
from export.encoders.base import Encoder, Weights
from export.encoders.minilm import minilm_folder
from export.encoders.weights import read_state
from export.preprocessing import TextPreprocessing

if TYPE_CHECKING:
    import torch

_MAX_TOKENS = 256
_VOCABULARY = 30522


class TextLstm(Encoder):
    """See the module."""

    name = "text_lstm"
    modality = Modality.TEXT
    dimension = 256
    max_batch_size = 64

    @property
    def preprocessing(self) -> TextPreprocessing:
        """BERT's WordPiece."""
        return TextPreprocessing(minilm_folder() / "tokenizer.json", _MAX_TOKENS)

    def weights(self, source: str) -> Weights:
        """Return weights: `seeded`, a .pth or .safetensors file, or `auto`, which is seeded."""
        import torch

        if source in ("auto", "seeded"):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                state = dict(self.module().state_dict())
            return Weights(state, "seeded random weights (no trained ones are published)")
        if Path(source).is_file():
            return Weights(read_state(Path(source)), f"file {Path(source).name}")
        raise ConfigurationError(f"text_lstm has no weights {source!r}; use auto, seeded or a file")

    def module(self) -> torch.nn.Module:
        """Return the network."""
        from export.encoders.attentive_lstm import AttentiveLstm

        return AttentiveLstm(_VOCABULARY, dimension=self.dimension)
