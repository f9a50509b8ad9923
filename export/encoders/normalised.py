"""Normalisation of images inside the graph. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalised(nn.Module):
    """PIXELS, uint8 (n, h, w, 3), to what `module` takes: float (n, 3, h, w), (x/255 - mean) / std.

    Args:
        module: the network.
        mean, std: of each channel.
    """

    def __init__(self, module: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.module = module
        self.mean = tuple(mean)
        self.std = tuple(std)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the module's vectors."""
        mean = torch.tensor(self.mean).reshape(3, 1, 1)
        std = torch.tensor(self.std).reshape(3, 1, 1)
        scaled = (pixels.float().permute(0, 3, 1, 2) / 255 - mean) / std
        # Normalised in float32 even where the module's arithmetic is float16.
        first = next(self.module.parameters(), scaled)
        vectors: Tensor = self.module(scaled.to(first.dtype))
        return vectors
