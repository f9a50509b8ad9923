"""What torchvision's networks share: where weights come from, and seeded ones that behave.

Pretrained weights are downloaded where the network allows; without them a seeded network serves
to try the platform: near-duplicates are close to each other, and nothing else is meant.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from embark.errors import ConfigurationError
from embark.inputs import Modality
from export.encoders.base import Encoder, Weights
from export.encoders.samples import drawings
from export.encoders.weights import download, read_state

if TYPE_CHECKING:
    import torch

_CALIBRATION_IMAGES = 16


class Convolutional(Encoder):
    """A torchvision classifier without its last layer.

    Attributes:
        pretrained: torchvision's name of the weights that are downloaded.
        classifier: prefixes of names in a state that the module has no use for.
    """

    modality = Modality.IMAGE
    max_batch_size = 16
    pretrained: str
    classifier: tuple[str, ...]

    @abstractmethod
    def url(self) -> str:
        """Return the address of the pretrained weights."""

    def weights(self, source: str) -> Weights:
        """Return weights: `torchvision`, `seeded`, a .pth or .safetensors file, or `auto`.

        `auto` is torchvision's where they can be downloaded, else seeded ones.
        """
        if source == "seeded":
            return self._seeded("seeded random weights, as asked")
        if source in ("auto", "torchvision"):
            try:
                state = download(self.url())
            except OSError as error:
                if source == "auto":
                    return self._seeded("seeded random weights (pretrained ones cannot be had)")
                raise ConfigurationError(f"torchvision's weights cannot be had: {error}") from None
            return Weights(self._headless(state), f"torchvision {self.pretrained}")
        if Path(source).is_file():
            return Weights(self._headless(read_state(Path(source))), f"file {Path(source).name}")
        raise ConfigurationError(
            f"{self.name} has no weights {source!r}; use auto, torchvision, seeded or a file"
        )

    def _headless(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {
            name: tensor for name, tensor in state.items() if not name.startswith(self.classifier)
        }

    def _seeded(self, origin: str) -> Weights:
        import torch

        from export.graph import tensors_of, with_normalisation

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = self.module()
            for layer in module.modules():
                if isinstance(layer, torch.nn.Conv2d):
                    torch.nn.init.kaiming_normal_(layer.weight)
                elif isinstance(layer, torch.nn.BatchNorm2d):
                    # Without statistics of its own, an untrained network's numbers explode.
                    layer.momentum = None
            pixels = tensors_of(self, drawings(_CALIBRATION_IMAGES))
            with torch.no_grad():
                with_normalisation(self, module).train()(*pixels)
        return Weights(dict(module.state_dict()), origin)
