"""The demo's input: sentences of its own, and photographs from scikit-image and scikit-learn."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

SENTENCES = (
    "The ferry leaves the island at dawn, before the fog has lifted.",
    "Her grandmother kept the recipe in a tin under the stairs.",
    "Quarterly revenue rose by four percent on strong demand for sensors.",
    "A comet that passes once in eighty years will be visible on Thursday.",
    "The goalkeeper saved two penalties and still left in tears.",
    "How to prune an apple tree in late winter, step by step.",
    "Researchers found bacteria that live on nothing but plastic.",
    "The city council voted to close the old bridge to cars.",
    "This phone's battery lasts two days, if you hardly touch it.",
    "Seven trails for a weekend in the mountains with small children.",
    "The orchestra tuned for so long that the audience applauded.",
    "Bread rises faster in a warm kitchen, but tastes better when it waits.",
    "An earthquake of magnitude six shook the coast without casualties.",
    "He sold the company and bought a lighthouse.",
    "The vaccine halves the risk of infection, a large trial shows.",
    "Why cats knock glasses off tables, according to people who study it.",
    "Rain is expected in the north, with sunshine spreading from the west.",
    "The museum returned three statues to the village they came from.",
    "Learn to play the ukulele in an afternoon with four chords.",
    "A judge ruled that the contract had never been signed.",
    "Electric buses will replace the last diesel line next spring.",
    "The novel begins with a letter that arrives forty years late.",
    "Octopuses taste with their arms and remember faces.",
    "The cheapest flight to Lisbon leaves at five in the morning.",
)

_PHOTOGRAPHS = (
    "astronaut", "brick", "camera", "cat", "coffee", "coins", "grass", "gravel", "horse",
    "hubble_deep_field", "immunohistochemistry", "moon", "page", "rocket",
)  # fmt: skip


def photographs() -> dict[str, bytes]:
    """Return encoded images by name: JPEG files as they are, the others as PNG."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    found = {name: _encoded(getattr(data, name)()) for name in _PHOTOGRAPHS}
    samples = load_sample_images()
    for path, pixels in zip(samples.filenames, samples.images, strict=True):
        found[Path(path).stem] = _encoded(pixels)
    return found


def _encoded(pixels: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bytes:
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * 255
    file = io.BytesIO()
    lossy = pixels.ndim == 3
    Image.fromarray(pixels).save(file, "JPEG" if lossy else "PNG")
    return file.getvalue()
