"""`resnet50`: torchvision's ResNet-50 without its classifier, images to 2,048 dimensions.

Source: He et al., "Deep Residual Learning for Image Recognition", 2016.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from export.encoders.convolutional import Convolutional
from export.preprocessing import ImagePreprocessing

if TYPE_CHECKING:
    import torch


class ResNet50(Convolutional):
    """See the module."""

    name = "resnet50"
    dimension = 2048
    preprocessing = ImagePreprocessing(
        232, 224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    pretrained = "IMAGENET1K_V2"
    classifier = ("fc.",)

    def url(self) -> str:
        """Return the address of torchvision's weights."""
        from torchvision.models import ResNet50_Weights

        return str(ResNet50_Weights.IMAGENET1K_V2.url)

    def module(self) -> torch.nn.Module:
        """Return the network up to its last pooling."""
        import torch
        from torchvision.models import resnet50

        network: torch.nn.Module = resnet50(weights=None)
        network.fc = torch.nn.Identity()
        return network
