"""`inception_v3`: torchvision's Inception v3 without its classifier, images to 2,048 dimensions.

Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2016.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from export.encoders.convolutional import Convolutional
from export.preprocessing import ImagePreprocessing

if TYPE_CHECKING:
    import torch


class InceptionV3(Convolutional):
    """See the module."""

    name = "inception_v3"
    dimension = 2048
    # What ImageNet's normalisation and torchvision's `transform_input` come to.
    preprocessing = ImagePreprocessing(342, 299, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    pretrained = "IMAGENET1K_V1"
    classifier = ("fc.", "AuxLogits.")

    def url(self) -> str:
        """Return the address of torchvision's weights."""
        from torchvision.models import Inception_V3_Weights

        return str(Inception_V3_Weights.IMAGENET1K_V1.url)

    def module(self) -> torch.nn.Module:
        """Return the network up to its last pooling."""
        import torch
        from torchvision.models import inception_v3

        network: torch.nn.Module = inception_v3(weights=None, aux_logits=False, init_weights=False)
        network.fc = torch.nn.Identity()
        return network
