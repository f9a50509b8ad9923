"""From PyTorch encoders to a Triton model repository: the only package that imports torch.

What is named here is what an encoder of one's own is written with; see docs/encoders.md.
"""

from embark.inputs import Modality
from export.encoders.base import Encoder, Weights
from export.preprocessing import (
    CustomPreprocessing,
    ImagePreprocessing,
    Tensor,
    TextPreprocessing,
)
from export.verification import Thresholds

__all__ = [
    "CustomPreprocessing",
    "Encoder",
    "ImagePreprocessing",
    "Modality",
    "Tensor",
    "TextPreprocessing",
    "Thresholds",
    "Weights",
]
