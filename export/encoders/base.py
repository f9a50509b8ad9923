"""What `export` must know of an encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from embark.inputs import Modality

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Tensor:
    """An input of the encoder: name, numpy dtype, and shape without the batch (-1 is variable)."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Weights:
    """A PyTorch state, and in words where it comes from."""

    state: dict[str, torch.Tensor]
    origin: str


class Encoder(ABC):
    """One public model.

    Attributes:
        name: public model name.
        modality: what it embeds.
        dimension: length of its vectors.
        dtype: type that the archive stores.
        max_batch_size: most inputs in one inference request.
        inputs: tensors of the encoder's graph; its output is EMBEDDING, float32.
        front: class of `export.serving` that prepares inputs, as `module:Class`.
        preprocessing: every choice in preparing an input; part of the generation.
    """

    name: str
    modality: Modality
    dimension: int
    dtype: str = "float16"
    max_batch_size: int
    inputs: tuple[Tensor, ...]
    front: str
    preprocessing: str

    @abstractmethod
    def assets(self) -> dict[str, bytes]:
        """Return the files that the front needs, by name."""

    @abstractmethod
    def weights(self, source: str) -> Weights:
        """Return the weights.

        Args:
            source: `auto`, `seeded`, the name of an origin, or a file.

        Raises:
            ConfigurationError: the source is unknown to this encoder or cannot be had.
        """

    @abstractmethod
    def skeleton(self) -> torch.nn.Module:
        """Return the module, from `inputs` to EMBEDDING, without its weights."""

    @abstractmethod
    def prepare(self, payloads: Sequence[bytes], *, padded: bool) -> dict[str, npt.NDArray[Any]]:
        """Return the encoder's tensors for a batch, as the front prepares them.

        Args:
            payloads: UTF-8 texts or encoded images.
            padded: whether to pad as in serving, or as little as the batch allows.
        """

    @abstractmethod
    def samples(self) -> list[bytes]:
        """Return inputs to verify a compiled encoder with."""
