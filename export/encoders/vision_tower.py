"""An image network of Hugging Face to vectors. Imports torch."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class VisionTower(nn.Module):
    """Float images (n, 3, h, w) to vectors.

    Args:
        network: takes `pixel_values`.
        first_token: take the first token's vector even if the network pools.
        normalise: scale vectors to length 1.
    """

    def __init__(self, network: nn.Module, *, first_token: bool, normalise: bool) -> None:
        super().__init__()
        self.network = network
        self.first_token = first_token
        self.normalise = normalise

    def forward(self, images: Tensor) -> Tensor:
        """Return vectors of shape (n, dimension)."""
        found = self.network(pixel_values=images)
        pooled = None if self.first_token else getattr(found, "pooler_output", None)
        vectors: Tensor = found.last_hidden_state[:, 0] if pooled is None else pooled.flatten(1)
        return functional.normalize(vectors, dim=1) if self.normalise else vectors
