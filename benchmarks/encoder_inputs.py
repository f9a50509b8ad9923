"""Real inputs for measuring encoders: sentences and pictures that installed packages carry."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

_PICTURES = Path(skimage.data.__file__).parent
_CALIBRATION = ("coffee.png", "brick.png", "coins.png", "ihc.png", "page.png", "retina.jpg")
_HELD_BACK = ("astronaut.png", "chelsea.png", "rocket.jpg", "moon.png", "cell.png", "gravel.png")
_SENTENCES_OF_A_PACKAGE = 30
_NOT_PROSE = re.compile(r"[<>{}|\\\[]|http|::|``|==")


def sentences(count: int) -> list[bytes]:
    """Return sentences out of the descriptions of installed packages, UTF-8, in a fixed order."""
    chosen: set[str] = set()
    shuffled = random.Random(0)
    for package in sorted(metadata.distributions(), key=lambda one: one.name):
        text = (package.read_text("METADATA") or "").partition("\n\n")[2]
        paragraphs = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text))
        pieces = (
            piece for part in paragraphs for piece in re.split(r"(?<=[.!?])\s+(?=[A-Z])", part)
        )
        mine = sorted({one for one in pieces if _is_sentence(one)})
        chosen.update(shuffled.sample(mine, min(len(mine), _SENTENCES_OF_A_PACKAGE)))
    found = sorted(chosen)
    shuffled.shuffle(found)
    return [one.encode() for one in found[:count]]


def pictures(count: int, *, held_back: bool) -> list[bytes]:
    """Return cut-outs of photographs, PNG; those held back are of other photographs."""
    names = _HELD_BACK if held_back else _CALIBRATION
    originals = [Image.open(_PICTURES / name).convert("RGB") for name in names]
    rng = np.random.default_rng(held_back)
    return [_cut(originals, number, rng) for number in range(count)]


def _cut(originals: Sequence[Image.Image], number: int, rng: np.random.Generator) -> bytes:
    original = originals[number % len(originals)]
    side = int(min(original.size) * rng.uniform(0.35, 1.0))
    left = int(rng.integers(0, original.width - side + 1))
    top = int(rng.integers(0, original.height - side + 1))
    file = io.BytesIO()
    original.crop((left, top, left + side, top + side)).save(file, "PNG")
    return file.getvalue()


def _is_sentence(text: str) -> bool:
    if not (30 <= len(text) <= 600 and text[-1] in ".!?" and re.match(r"[A-Z][a-z]", text)):
        return False
    return not _NOT_PROSE.search(text)
