"""Inputs made by a seed: what compiled encoders are verified and calibrated with.

The same on every machine. Not real data: an encoder that needs some brings its own.
"""

from __future__ import annotations

import io
import re

import numpy as np
from PIL import Image, ImageDraw

_ODD_TEXTS = (
    "",
    "Slow models can be served quickly if their results are kept.",
    "A short one.",
    "Привет, мир. こんにちは世界。 🙂",
    "The archive answers at once; the queue remembers what was missing. " * 4,
    "One sentence, repeated until it is longer than the model can read. " * 40,
    "naïve café, Ångström",
    "1234567890 !?",
)
_WORDS = re.findall(
    r"\w+",
    """
    river market doctor signal garden engine winter paper music border window teacher ocean village
    camera bridge profit kitchen theory forest council ticket harvest planet rumour the a of under
    with after slowly quietly never builds sells opens repairs follows paints counts red quick
    hidden ancient cheap local heavy bright
    """,
)


def texts(count: int = 16, seed: int = 0) -> list[bytes]:
    """Return UTF-8 texts of many lengths; with seed 0, the first are odd ones."""
    rng = np.random.default_rng(seed)
    made = list(_ODD_TEXTS[:count]) if seed == 0 else []
    while len(made) < count:
        words = rng.choice(_WORDS, int(rng.integers(3, 40)))
        made.append(" ".join(words).capitalize() + ".")
    return [text.encode() for text in made]


def drawings(count: int, seed: int = 0) -> list[bytes]:
    """Return PNG images, 360 x 340, of gradients, shapes and noise."""
    rng = np.random.default_rng(seed)
    made = []
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
        made.append(file.getvalue())
    return made
