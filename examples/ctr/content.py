"""Where the vectors of texts and pictures come from: the one thing that the arms differ in.

`Archived` is EmbArk; `Stored` are vectors that were computed inline; `TrainedText` and `EndToEnd`
run towers within the training, so that gradients reach them, which no archive can offer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from embark.client import Sendable
from embark.torch import CachedEmbedding


class Content(nn.Module, ABC):
    """Vectors of items, and what stands for missing ones.

    Attributes:
        text_oov, image_oov: shape (dimension,); None if the content has no texts, no pictures.
    """

    def __init__(self) -> None:
        super().__init__()
        self.text_oov: nn.Parameter | None = None
        self.image_oov: nn.Parameter | None = None

    @abstractmethod
    def vectors(self, items: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the vectors of texts and of pictures, each (items, dimension) or None."""

    def towers(self) -> list[nn.Parameter]:
        """Return the parameters of the towers that are trained."""
        return []


class Nothing(Content):
    """No content at all."""

    def vectors(self, items: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return nothing."""
        return None, None


class Archived(Content):
    """Vectors from EmbArk.

    Args:
        text, image: modules that look vectors up; no image if there are no pictures.
        text_inputs, image_inputs: what to send for each item.
    """

    def __init__(
        self,
        text: CachedEmbedding,
        text_inputs: Sequence[Sendable],
        image: CachedEmbedding | None = None,
        image_inputs: Sequence[Sendable] = (),
    ) -> None:
        super().__init__()
        self.text, self.image = text, image
        self.text_oov = text.oov
        self.image_oov = None if image is None else image.oov
        self._text_inputs, self._image_inputs = text_inputs, image_inputs

    def vectors(self, items: Tensor) -> tuple[Tensor, Tensor | None]:
        """Look both up; what the archive lacks is its OOV vector."""
        wanted = items.tolist()
        text: Tensor = self.text([self._text_inputs[item] for item in wanted])
        if self.image is None:
            return text, None
        image: Tensor = self.image([self._image_inputs[item] for item in wanted])
        return text, image


class Stored(Content):
    """Vectors of some items that are in memory.

    Args:
        text, image: float32, (n, dimension).
        place: row of each item, int64 (items,).
    """

    _text: Tensor
    _image: Tensor
    _place: Tensor

    def __init__(self, text: Tensor, image: Tensor, place: Tensor) -> None:
        super().__init__()
        self.register_buffer("_text", text, persistent=False)
        self.register_buffer("_image", image, persistent=False)
        self.register_buffer("_place", place, persistent=False)
        self.text_oov = nn.Parameter(torch.zeros(text.shape[1]))
        self.image_oov = nn.Parameter(torch.zeros(image.shape[1]))

    def vectors(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows of both."""
        rows = self._place[items]
        return self._text[rows], self._image[rows]


class TrainedText(Content):
    """Texts through a tower that is trained; no pictures.

    Args:
        tower: tensors of `tokens` to vectors.
        ids, mask: of every item, int64 (items, length).
    """

    _ids: Tensor
    _mask: Tensor

    def __init__(self, tower: nn.Module, ids: Tensor, mask: Tensor) -> None:
        super().__init__()
        self.tower = tower
        self.register_buffer("_ids", ids, persistent=False)
        self.register_buffer("_mask", mask, persistent=False)

    def vectors(self, items: Tensor) -> tuple[Tensor, None]:
        """Run the tower."""
        text: Tensor = self.tower(self._ids[items], self._mask[items])
        return text, None

    def towers(self) -> list[nn.Parameter]:
        """Return the tower's parameters."""
        return list(self.tower.parameters())


class EndToEnd(Content):
    """Texts and pictures through towers that are trained.

    Of the pictures' tower only the last block is run, on maps that the blocks below it, frozen,
    gave once: on two cores the whole of Inception could not be trained.

    Args:
        texts: gives the texts' vectors; its tower is trained if it has one.
        block: maps to vectors.
        maps: float32 (n, channels, height, width).
        place: row of each item in `maps`, int64 (items,).
        dimensions: of texts and pictures.
    """

    _maps: Tensor
    _place: Tensor

    def __init__(
        self,
        texts: Content,
        block: nn.Module,
        maps: Tensor,
        place: Tensor,
        dimensions: tuple[int, int],
    ) -> None:
        super().__init__()
        self.texts, self.block = texts, block
        self.register_buffer("_maps", maps, persistent=False)
        self.register_buffer("_place", place, persistent=False)
        self.text_oov = nn.Parameter(torch.zeros(dimensions[0]))
        self.image_oov = nn.Parameter(torch.zeros(dimensions[1]))

    def vectors(self, items: Tensor) -> tuple[Tensor | None, Tensor]:
        """Run both towers."""
        text, _ = self.texts.vectors(items)
        image: Tensor = self.block(self._maps[self._place[items]])
        return text, image

    def train(self, mode: bool = True) -> EndToEnd:
        """Train, but with the statistics that the block's normalisation has: batches are small."""
        super().train(mode)
        self.block.eval()
        return self

    def towers(self) -> list[nn.Parameter]:
        """Return the parameters of both."""
        return [*self.texts.towers(), *self.block.parameters()]
