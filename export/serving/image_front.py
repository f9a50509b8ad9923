"""The front of image models: decodes, resizes and crops."""

from __future__ import annotations

from typing import Any

import numpy as np

from .front import Front
from .pixels import decode_image


class ImageFront(Front):
    """IMAGE → PIXELS."""

    input_name = "IMAGE"

    def prepare(self, payload: bytes) -> Any:
        """Return the pixels of an encoded image."""
        return decode_image(payload)

    def batches(self, prepared: list[Any]) -> list[tuple[list[int], dict[str, Any]]]:
        """Return one batch of all images."""
        if not prepared:
            return []
        return [(list(range(len(prepared))), {"PIXELS": np.stack(prepared)})]
