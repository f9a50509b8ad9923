"""What the command line says of a brought encoder that its files do not say themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from embark.inputs import Modality


@dataclass(frozen=True)
class Options:
    """All optional; which are needed depends on what is brought.

    Attributes:
        modality: what a ready ONNX file embeds.
        size: side of the square of pixels that an image encoder takes.
        resize: length that the shorter side gets before; `size` if not given.
        stretch: fit the whole image into the square instead of cutting its middle out.
        interpolation: how images are resized.
        mean, std: of each channel, on a scale of 0 to 1.
        tokenizer: a `tokenizer.json`.
        max_tokens: longer texts are cut there.
        pooling: from token vectors to one, a name of `export.encoders.pooling.MODES`, or `none`.
        normalise: scale vectors to length 1.
        prefix: put before every text.
        graph_output: which output of an ONNX file is the embedding.
    """

    modality: Modality | None = None
    size: int | None = None
    resize: int | None = None
    stretch: bool = False
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    tokenizer: Path | None = None
    max_tokens: int | None = None
    pooling: str | None = None
    normalise: bool = False
    prefix: str = ""
    graph_output: str | None = None

    @property
    def architecture(self) -> str:
        """Those that change the network; the others change the preprocessing, which has them."""
        return f"pooling={self.pooling} normalise={self.normalise}"


UNSAID = Options()
"""No option at all."""
