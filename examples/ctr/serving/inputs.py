"""What to send EmbArk for an item: its text, and its picture's key.

A ranking service knows a picture's key from when the item was made; here it is computed once for
the whole catalogue and kept in a file. Texts are shorter than keys save, so they are sent as they
are, and queue themselves when they are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from embark.inputs import image_input
from embark.keys import DIGEST_BYTES, Key, digest
from examples.ctr.catalogue import Catalogue

Progress = Callable[[int, int], None]
"""Told how many pictures of how many are done."""


class ItemInputs:
    """The inputs of a catalogue's items.

    Args:
        catalogue: the items.
        digests: of their pictures, as `picture_digests` returns them.
        image_model: name of the model of pictures.
        image_generation: the one whose keys are sent; any served one does.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        digests: Sequence[bytes],
        image_model: str,
        image_generation: str,
    ) -> None:
        self._catalogue: Final = catalogue
        self._keys: Final = [Key(image_model, image_generation, one) for one in digests]
        self._texts: Final = [catalogue.text(item) for item in range(len(catalogue))]

    def __len__(self) -> int:
        return len(self._keys)

    def text(self, item: int) -> str:
        """Return an item's text."""
        return self._texts[item]

    def picture_key(self, item: int) -> Key:
        """Return the key of an item's picture."""
        return self._keys[item]

    def picture(self, item: int) -> bytes:
        """Return an item's picture, a JPEG file; costs milliseconds."""
        return self._catalogue.picture(item)


def picture_digests(catalogue: Catalogue, file: Path, progress: Progress) -> list[bytes]:
    """Return the digest of each item's picture, from `file` if it is of this catalogue.

    Args:
        catalogue: the items.
        file: where digests are kept, `.npy`; written if need be.
        progress: told while pictures are rendered.
    """
    first, last = (
        digest(image_input(catalogue.picture(item))) for item in (0, -1 + len(catalogue))
    )
    if file.exists():
        kept = [bytes(row) for row in np.load(file)]
        if len(kept) == len(catalogue) and (kept[0], kept[-1]) == (first, last):
            return kept
    digests = []
    for item in range(len(catalogue)):
        digests.append(digest(image_input(catalogue.picture(item))))
        progress(item + 1, len(catalogue))
    rows = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST_BYTES)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, rows)
    return digests
