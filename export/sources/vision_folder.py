"""An image encoder of `transformers`: config.json, preprocessor_config.json, weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embark.errors import ConfigurationError
from embark.inputs import Modality
from export.encoders.base import Encoder
from export.preprocessing import ImagePreprocessing
from export.sources.folder import check_complete, contents, load_config, load_model, read_json
from export.sources.options import Options

if TYPE_CHECKING:
    import torch

_FILTERS = {2: "bilinear", 3: "bicubic"}


class VisionFolder(Encoder):
    """See the module.

    The vector is the model's pooled output where it has one, else that of its first token.

    Args:
        folder: what `save_pretrained` of model and image processor wrote.
        options: `pooling`, which may be `cls`, and `normalise` are heeded.

    Raises:
        ConfigurationError: its preprocessing is not of the usual kind.
    """

    modality = Modality.IMAGE
    max_batch_size = 16

    def __init__(self, folder: Path, options: Options) -> None:
        if options.pooling not in (None, "cls"):
            raise ConfigurationError(
                f"images have no pooling {options.pooling!r}; use --pooling cls, or leave it out"
                " for the model's own"
            )
        self._folder = folder
        self.origin = f"folder {folder.name}"
        self._options = options
        config = load_config(folder)
        sizes = getattr(config, "hidden_sizes", None)
        self.dimension = sizes[-1] if sizes else config.hidden_size
        self._image = image_preprocessing(folder)

    @property
    def preprocessing(self) -> ImagePreprocessing:
        """What preprocessor_config.json says."""
        return self._image

    def module(self) -> torch.nn.Module:
        """Return the network."""
        from export.encoders.vision_tower import VisionTower

        network, missing = load_model(self._folder)
        pooler = {name for name in missing if name.startswith("pooler.")}
        check_complete(self._folder, missing - pooler)
        if hasattr(network, "pooler") and (pooler or self._options.pooling == "cls"):
            setattr(network, "pooler", None)  # noqa: B010 - a module is declared to be a module
        return VisionTower(
            network,
            first_token=self._options.pooling == "cls",
            normalise=self._options.normalise,
        )

    def architecture(self) -> Iterator[str | bytes]:
        """Return the folder's configuration, and the options."""
        yield self._options.architecture
        yield from contents(self._folder, "*.json")

    def recipe(self) -> Iterator[str | bytes]:
        """Return the folder's files, and the options."""
        yield repr(self._options)
        yield from contents(self._folder)


def image_preprocessing(folder: Path) -> ImagePreprocessing:
    """Return what a folder's preprocessor_config.json says.

    Raises:
        ConfigurationError: it asks for other steps than resizing, cutting out and normalising.
    """
    path = folder / "preprocessor_config.json"
    stated = read_json(path)
    size, crop = _sides(stated.get("size")), _sides(stated.get("crop_size"))
    cuts = stated.get("do_center_crop", False) and crop is not None
    filter_name = _FILTERS.get(stated.get("resample", 2))
    factor = stated.get("rescale_factor", 1 / 255)
    if (
        size is None
        or filter_name is None
        or not stated.get("do_resize", True)
        or not stated.get("do_rescale", True)
        or abs(factor * 255 - 1) > 1e-6
    ):
        raise ConfigurationError(
            f"{path} asks for steps that are not supported: images are resized (bilinear or"
            " bicubic), cut out, scaled by 1/255 and normalised; write an Encoder of your own"
        )
    square = crop if cuts and crop is not None else size
    # A shorter side that is named keeps the shape of the image, and then something is cut off.
    keeps_shape = isinstance(stated["size"], int) or "shortest_edge" in stated["size"]
    stretches = not (keeps_shape and cuts)
    if square[0] != square[1] or (stretches and size != square):
        raise ConfigurationError(f"{path} makes images that are not square; they must be")
    if stretches and isinstance(stated["size"], dict) and "shortest_edge" in stated["size"]:
        raise ConfigurationError(f"{path} keeps the shape of images; it must cut out a square")
    normalises = stated.get("do_normalize", True)
    return ImagePreprocessing(
        None if stretches else size[0],
        square[0],
        filter_name,
        mean=_channels(stated["image_mean"]) if normalises else (0.0, 0.0, 0.0),
        std=_channels(stated["image_std"]) if normalises else (1.0, 1.0, 1.0),
    )


def _sides(size: Any) -> tuple[int, int] | None:
    if isinstance(size, int):
        return size, size
    if isinstance(size, dict) and "shortest_edge" in size:
        return size["shortest_edge"], size["shortest_edge"]
    if isinstance(size, dict) and {"height", "width"} <= size.keys():
        return size["height"], size["width"]
    return None


def _channels(values: Any) -> tuple[float, float, float]:
    red, green, blue = values
    return float(red), float(green), float(blue)
