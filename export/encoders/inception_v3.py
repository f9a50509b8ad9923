"""`inception_v3`: torchvision's Inception v3 without its classifier, images to 2,048 dimensions.

Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2016.
"""

from __future__ import annotations

import io
import socket
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from embark.errors import ConfigurationError
from embark.inputs import Modality
from export.encoders.base import Encoder, Tensor, Weights
from export.serving.pixels import RESIZED, SIZE, decode_image

if TYPE_CHECKING:
    import torch

_DOWNLOAD_SECONDS = 10.0
_CALIBRATION_IMAGES = 16


class InceptionV3(Encoder):
    """See the module."""

    name = "inception_v3"
    modality = Modality.IMAGE
    dimension = 2048
    max_batch_size = 16
    inputs = (Tensor("PIXELS", "uint8", (SIZE, SIZE, 3)),)
    front = "image_front:ImageFront"
    preprocessing = f"RGB; shorter side {RESIZED}, bilinear; centre {SIZE}; (x/255 - 0.5) / 0.5"

    def assets(self) -> dict[str, bytes]:
        """Return nothing: preparing an image needs no files."""
        return {}

    def weights(self, source: str) -> Weights:
        """Return weights: `torchvision`, `seeded`, a .pth or .safetensors file, or `auto`.

        `auto` is torchvision's where they can be downloaded, else seeded ones.
        """
        if source == "seeded":
            return self._seeded("seeded random weights, as asked")
        if source in ("auto", "torchvision"):
            try:
                return Weights(_renamed(_download()), "torchvision IMAGENET1K_V1")
            except OSError as error:
                if source == "auto":
                    return self._seeded("seeded random weights (pretrained ones cannot be had)")
                raise ConfigurationError(f"torchvision's weights cannot be had: {error}") from None
        if Path(source).is_file():
            return Weights(_renamed(_read(Path(source))), f"file {Path(source).name}")
        raise ConfigurationError(
            f"inception_v3 has no weights {source!r}; use auto, torchvision, seeded or a file"
        )

    def skeleton(self) -> torch.nn.Module:
        """Return the network from PIXELS to EMBEDDING."""
        import torch
        from torchvision.models import inception_v3

        class Headless(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = inception_v3(weights=None, aux_logits=False, init_weights=False)
                self.net.fc = torch.nn.Identity()

            def forward(self, pixels: torch.Tensor) -> torch.Tensor:
                # What ImageNet's normalisation and torchvision's transform_input come to.
                scaled = (pixels.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
                embedding: torch.Tensor = self.net(scaled)
                return embedding

        return Headless()

    def prepare(self, payloads: Sequence[bytes], *, padded: bool) -> dict[str, npt.NDArray[Any]]:
        """Return PIXELS, uint8 of shape (len(payloads), 299, 299, 3)."""
        return {"PIXELS": np.stack([decode_image(payload) for payload in payloads])}

    def samples(self) -> list[bytes]:
        """Return drawn images."""
        return _drawings(8)

    def _seeded(self, origin: str) -> Weights:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = self.skeleton()
            for layer in module.modules():
                if isinstance(layer, torch.nn.Conv2d):
                    torch.nn.init.kaiming_normal_(layer.weight)
                elif isinstance(layer, torch.nn.BatchNorm2d):
                    # Without statistics of its own, an untrained network's numbers explode.
                    layer.momentum = None
            pixels = self.prepare(_drawings(_CALIBRATION_IMAGES), padded=True)["PIXELS"]
            with torch.no_grad():
                module.train()(torch.from_numpy(pixels))
        return Weights(dict(module.state_dict()), origin)


def _download() -> dict[str, torch.Tensor]:
    import torch
    from torchvision.models import Inception_V3_Weights

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_SECONDS)
    try:
        return dict(
            torch.hub.load_state_dict_from_url(
                Inception_V3_Weights.IMAGENET1K_V1.url, progress=False, check_hash=True
            )
        )
    finally:
        socket.setdefaulttimeout(before)


def _read(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return dict(torch.load(path, map_location="cpu", weights_only=True))


def _renamed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a torchvision state without classifier and auxiliary head, named as in `Headless`."""
    return {
        f"net.{name.removeprefix('net.')}": tensor
        for name, tensor in state.items()
        if not name.startswith(("fc.", "AuxLogits."))
    }


def _drawings(count: int) -> list[bytes]:
    """Return PNG images of gradients, shapes and noise, the same on every machine."""
    rng = np.random.default_rng(0)
    drawings = []
    for _ in range(count):
        corners = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)
        image = Image.fromarray(corners).resize((360, 340), Image.Resampling.BILINEAR)
        draw = ImageDraw.Draw(image)
        for _ in range(12):
            x, y, width, height = (int(number) for number in rng.integers(0, 300, 4))
            colour = tuple(int(number) for number in rng.integers(0, 256, 3))
            shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
            shape((x, y, x + width // 2, y + height // 2), fill=colour)
        noise = rng.normal(0, 12, (340, 360, 3))
        pixels = (np.asarray(image) + noise).clip(0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        drawings.append(file.getvalue())
    return drawings
