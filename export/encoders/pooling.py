"""From token vectors to one vector: the last steps of sentence encoders.

The modes and their numbers are those of sentence-transformers. Texts are padded on the right.
Imports torch: import it only where a module is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_SMALLEST = 1e-9


def _masked_sum(tokens: Tensor, weight: Tensor) -> Tensor:
    return (tokens.float() * weight).sum(1)


def _mean(tokens: Tensor, mask: Tensor) -> Tensor:
    weight = mask.unsqueeze(-1).float()
    return _masked_sum(tokens, weight) / weight.sum(1).clamp(min=_SMALLEST)


def _mean_by_root(tokens: Tensor, mask: Tensor) -> Tensor:
    weight = mask.unsqueeze(-1).float()
    return _masked_sum(tokens, weight) / weight.sum(1).clamp(min=_SMALLEST).sqrt()


def _mean_by_position(tokens: Tensor, mask: Tensor) -> Tensor:
    positions = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
    weight = (mask * positions).unsqueeze(-1).float()
    return _masked_sum(tokens, weight) / weight.sum(1).clamp(min=_SMALLEST)


def _greatest(tokens: Tensor, mask: Tensor) -> Tensor:
    lowest = torch.finfo(tokens.dtype).min
    return tokens.masked_fill(mask.unsqueeze(-1) == 0, lowest).amax(1)


def _first(tokens: Tensor, mask: Tensor) -> Tensor:
    return tokens[:, 0]


def _last(tokens: Tensor, mask: Tensor) -> Tensor:
    at = (mask.sum(1) - 1).clamp(min=0)
    return tokens.gather(1, at[:, None, None].expand(-1, 1, tokens.shape[2])).squeeze(1)


MODES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": _first,
    "max": _greatest,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_by_root,
    "weightedmean": _mean_by_position,
    "lasttoken": _last,
}


class Pooling(nn.Module):
    """Token vectors (n, length, d) and mask (n, length) to vectors (n, d x number of modes).

    Args:
        modes: names of `MODES`; their results are put one behind the other.
    """

    def __init__(self, modes: Sequence[str]) -> None:
        super().__init__()
        self.modes = tuple(modes)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the vectors, of the type of `tokens`."""
        pooled = [MODES[mode](tokens, mask).to(tokens.dtype) for mode in self.modes]
        return torch.cat(pooled, dim=-1)


class Dense(nn.Module):
    """A linear layer, an activation, and the input added if `residual`."""

    def __init__(
        self, inputs: int, outputs: int, activation: nn.Module, *, bias: bool, residual: bool
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=bias)
        self.activation = activation
        self.adds_input = residual
        if residual and inputs != outputs:
            self.residual = nn.Linear(inputs, outputs, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the new vectors."""
        made: Tensor = self.activation(self.linear(vectors))
        if self.adds_input:
            made = made + (self.residual(vectors) if hasattr(self, "residual") else vectors)
        return made


class Normalise(nn.Module):
    """Vectors to length 1."""

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the vectors normalised, of their own type."""
        return functional.normalize(vectors.float(), p=2.0, dim=-1).to(vectors.dtype)


class TextTower(nn.Module):
    """A transformer of Hugging Face, pooling, and what follows it.

    Args:
        transformer: takes `input_ids` and `attention_mask`, returns `last_hidden_state`.
        steps: a `Pooling`, then modules from vectors to vectors.
    """

    def __init__(self, transformer: nn.Module, steps: Sequence[nn.Module]) -> None:
        super().__init__()
        self.bert = transformer
        self.steps = nn.ModuleList(steps)

    def forward(self, ids: Tensor, mask: Tensor) -> Any:
        """Return vectors for INPUT_IDS and ATTENTION_MASK."""
        tokens = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        pooling, *rest = self.steps
        vectors = pooling(tokens, mask)
        for step in rest:
            vectors = step(vectors)
        return vectors
