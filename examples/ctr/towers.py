"""The towers in PyTorch: training the text's, and running both inline beside the archive."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from embark.errors import ConfigurationError
from examples.ctr import tokens
from export import graph
from export.encoders import find
from export.encoders.base import Encoder, Weights
from export.exporting import WEIGHTS_FILE
from export.repository import newest_facts

_BATCH = 8
_LAST_BLOCK = "Mixed_7c"


def tokenised(texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return IDS and MASK of texts, int64 (texts, length) each."""
    prepared = [tokens.prepare(text.encode()) for text in texts]
    ids = np.stack([one["IDS"] for one in prepared])
    mask = np.stack([one["MASK"] for one in prepared])
    return torch.from_numpy(ids), torch.from_numpy(mask)


def save_tower(tower: nn.Module, path: Path) -> None:
    """Write the text tower's weights as a .safetensors file."""
    save_file({name: tensor.contiguous() for name, tensor in tower.state_dict().items()}, path)


class Inline:
    """An exported encoder, run here by PyTorch, with the very weights that are served.

    Args:
        repository: where it was exported to.
        name: of the model.
        encoder: what was exported; None for a shipped one.

    Raises:
        ConfigurationError: it was never exported.
    """

    def __init__(self, repository: Path, name: str, encoder: Encoder | None = None) -> None:
        facts = newest_facts(repository, name)
        if facts is None:
            raise ConfigurationError(f"{name} is not exported in {repository}")
        state = load_file(repository / f"{name}_encoder" / str(facts.version) / WEIGHTS_FILE)
        self._encoder = find(name) if encoder is None else encoder
        self._module: nn.Module = graph.load_module(self._encoder, Weights(state, facts.weights))

    def embed(self, payloads: Sequence[bytes]) -> Tensor:
        """Return vectors of UTF-8 texts or encoded images, float32 (payloads, dimension)."""
        parts = []
        with torch.no_grad():
            for start in range(0, len(payloads), _BATCH):
                batch = payloads[start : start + _BATCH]
                parts.append(self._module(*graph.tensors_of(self._encoder, batch)))
        return torch.cat(parts).float()

    def maps(self, payloads: Sequence[bytes]) -> tuple[Tensor, Tensor]:
        """Return what the last block of Inception is given, and the vectors.

        Float32, (payloads, channels, height, width) and (payloads, dimension).
        """
        found: list[Tensor] = []
        hook = self._last().register_forward_pre_hook(
            lambda _, arguments: found.append(arguments[0].detach())
        )
        try:
            vectors = self.embed(payloads)
        finally:
            hook.remove()
        return torch.cat(found), vectors

    def last_block(self) -> nn.Module:
        """Return Inception's last block and what follows it, to be trained: maps to vectors."""
        block = copy.deepcopy(self._last())
        return nn.Sequential(block, nn.AdaptiveAvgPool2d(1), nn.Flatten()).requires_grad_()

    def module(self) -> nn.Module:
        """Return the whole encoder, to be trained."""
        return copy.deepcopy(self._module).requires_grad_()

    def _last(self) -> nn.Module:
        modules: dict[str, nn.Module] = dict(self._module.named_modules())
        return next(module for name, module in modules.items() if name.endswith(_LAST_BLOCK))
