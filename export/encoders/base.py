"""What `export` must know of an encoder: the interface of shipped encoders and of brought ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from embark.errors import ConfigurationError
from embark.inputs import Modality
from export.encoders.samples import drawings, texts
from export.preprocessing import ImagePreprocessing, Preprocessing, Staged, Tensor
from export.serving.preparer import Preparer
from export.verification import Thresholds

if TYPE_CHECKING:
    import torch

_THRESHOLDS = {
    "fp32": Thresholds(min_cosine=0.9999, min_neighbours=None),
    "fp16": Thresholds(min_cosine=0.999, min_neighbours=0.95),
    "bf16": Thresholds(min_cosine=0.98, min_neighbours=0.9),
    "int8": Thresholds(min_cosine=0.98, min_neighbours=0.8),
}
_CALIBRATION_INPUTS = 32


@dataclass(frozen=True)
class Weights:
    """A PyTorch state, and in words where it comes from."""

    state: dict[str, torch.Tensor]
    origin: str


class Encoder(ABC):
    """One public model. A subclass states the first four attributes, and has a `module`.

    Attributes:
        name: public model name; `embark export --name` gives it to a brought encoder.
        modality: what it embeds, `text` or `image`.
        dimension: length of its vectors.
        preprocessing: how an input is prepared.
        dtype: type that the archive stores, `float16` or `float32`.
        max_batch_size: most inputs in one inference request.
        origin: in words for people, where the weights that `module` carries come from.
        precisions: arithmetic that it can be compiled for.
        thresholds: for a precision, how near to PyTorch the compiled encoder must be.
    """

    name: str = ""
    modality: Modality
    dimension: int
    dtype: str = "float16"
    max_batch_size: int = 32
    origin: str = "as the module has them"
    precisions: Sequence[str] = ("fp32", "fp16", "bf16", "int8")
    thresholds: Mapping[str, Thresholds] = MappingProxyType({})

    @property
    @abstractmethod
    def preprocessing(self) -> Preprocessing:
        """How an input is prepared; a class attribute serves as well."""

    @abstractmethod
    def module(self) -> torch.nn.Module:
        """Return the network, from the tensors of `preprocessing` to vectors.

        Its output is one tensor of shape (n, dimension). It may carry its weights, or be given
        them from `weights`.
        """

    def weights(self, source: str) -> Weights:
        """Return the weights.

        Args:
            source: `auto`, the name of an origin that the encoder knows, or a file. Without an
                override: those that `module` carries, or a .pth or .safetensors file.

        Raises:
            ConfigurationError: the source is unknown to this encoder or cannot be had.
        """
        from export.encoders.weights import read_state

        if source == "auto":
            return Weights(dict(self.module().state_dict()), self.origin)
        if Path(source).is_file():
            return Weights(read_state(Path(source)), f"file {Path(source).name}")
        raise ConfigurationError(f"{self.name} has no weights {source!r}; use auto or a file")

    def samples(self) -> list[bytes]:
        """Return inputs to verify a compiled encoder with: UTF-8 texts or encoded images."""
        return texts() if self.modality == Modality.TEXT else drawings(8)

    def calibration(self) -> list[bytes]:
        """Return inputs to find the ranges of int8 arithmetic with; others than `samples`."""
        if self.modality == Modality.TEXT:
            return texts(_CALIBRATION_INPUTS, seed=1)
        return drawings(_CALIBRATION_INPUTS, seed=1)

    @property
    def int8_method(self) -> str:
        """How int8 numbers are chosen: `static`, from calibration inputs, or `dynamic`."""
        return "dynamic" if self.modality == Modality.TEXT else "static"

    def architecture(self) -> Iterator[str | bytes]:
        """Return what decides vectors beside weights, preprocessing and precision.

        It is part of the generation. Without an override: the Python files that a brought class is
        made of, whole, so that no change of the network goes unseen.
        """
        from export.sources.python_class import class_sources

        yield from class_sources(type(self))

    def recipe(self) -> Iterator[str | bytes]:
        """Return what an export is made from beside architecture, preprocessing and weights."""
        from export.sources.python_class import class_sources

        yield from class_sources(type(self))

    @property
    def carries_weights(self) -> bool:
        """Whether nothing but `module` knows the weights, which it may read from anywhere."""
        return type(self).weights is Encoder.weights and type(self).recipe is Encoder.recipe

    def write_graph(self, module: torch.nn.Module, path: Path) -> None:
        """Write `module`, which `graph.load_module` returned, as an ONNX file."""
        from export.graph import compile_module

        compile_module(self, module, path)

    def threshold(self, precision: str) -> Thresholds:
        """Return the threshold of a precision: the encoder's own, or the usual one."""
        return self.thresholds.get(precision, _THRESHOLDS[precision])

    @cached_property
    def preparer(self) -> Preparer:
        """What prepares inputs, opened from the same files as in serving."""
        self._staged = Staged(self.preprocessing)
        return self._staged.preparer

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Tensors of the encoder's graph; its output is EMBEDDING, float32."""
        return self.preprocessing.inputs


__all__ = ["Encoder", "ImagePreprocessing", "Tensor", "Weights"]
