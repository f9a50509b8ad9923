"""The shipped encoders, one module for each. A new one is added to `ENCODERS`."""

from __future__ import annotations

from embark.errors import ConfigurationError
from export.encoders.base import Encoder
from export.encoders.inception_v3 import InceptionV3
from export.encoders.minilm import MiniLm
from export.encoders.resnet50 import ResNet50
from export.encoders.text_lstm import TextLstm

ENCODERS: dict[str, Encoder] = {
    encoder.name: encoder for encoder in (InceptionV3(), MiniLm(), ResNet50(), TextLstm())
}


def find(name: str) -> Encoder:
    """Return an encoder.

    Raises:
        ConfigurationError: none has this name.
    """
    if name not in ENCODERS:
        raise ConfigurationError(
            f"no encoder is named {name!r}; the encoders are: {', '.join(ENCODERS)}"
        )
    return ENCODERS[name]
