"""Renders the items' pictures from drawn attributes, so that what they show carries a known signal.

Colour, lightness, how busy the background is, which shape stands in the middle, whether it has a
price tag. Position, size, distractors and the background's tint vary without a meaning.
"""

from __future__ import annotations

import colorsys
import io
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

SIDE = 299
SHAPES = ("disc", "square", "triangle", "star", "face")
_DISTRACTORS = 4
_STRIPES_APART = 13
_STRIPE_WIDTH = 5
_STRONGEST_STRIPE = 0.5
_QUALITY = 88

_SHAPE_EFFECT = np.array([-0.15, -0.4, -0.1, 0.15, 0.5])
_WARMTH_EFFECT = 0.35
_LIGHTNESS_EFFECT = 0.7
_BUSYNESS_EFFECT = -0.9
_TAG_EFFECT = 0.4

_Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """Drawn attributes of all pictures, each of shape (items,).

    Attributes:
        shape: index in `SHAPES`, of what stands in the middle.
        hue: its colour, 0 to 1 around the wheel; 0 is red.
        lightness: of the background, 0 to 1.
        busyness: how strong the stripes of the background are, 0 to 1.
        tag: whether it has a price tag.
        variant: places what has no meaning.
    """

    shape: npt.NDArray[np.int32]
    hue: npt.NDArray[np.float64]
    lightness: npt.NDArray[np.float64]
    busyness: npt.NDArray[np.float64]
    tag: npt.NDArray[np.bool_]
    variant: npt.NDArray[np.int32]

    def warmth(self) -> npt.NDArray[np.float64]:
        """Return how warm each picture's colour is, -1 to 1, shape (items,)."""
        return np.cos(2 * np.pi * (self.hue - 0.05))

    def appeal(self) -> npt.NDArray[np.float64]:
        """Return the logit that each picture contributes to a click, shape (items,)."""
        return (
            _SHAPE_EFFECT[self.shape]
            + _WARMTH_EFFECT * self.warmth()
            + _LIGHTNESS_EFFECT * (self.lightness - 0.5)
            + _BUSYNESS_EFFECT * (self.busyness - 0.5)
            + _TAG_EFFECT * (self.tag - 0.5)
        )


def draw(items: int, rng: np.random.Generator) -> Look:
    """Return random attributes of `items` pictures."""
    return Look(
        shape=rng.integers(len(SHAPES), size=items, dtype=np.int32),
        hue=rng.random(items),
        lightness=rng.random(items),
        busyness=rng.random(items),
        tag=rng.random(items) < 0.4,
        variant=rng.integers(2**31, size=items, dtype=np.int32),
    )


def render(look: Look, item: int) -> bytes:
    """Return the picture of an item: a JPEG file of `SIDE` pixels square."""
    rng = np.random.default_rng([int(look.variant[item]), item])
    image = Image.new("RGB", (SIDE, SIDE))
    canvas = ImageDraw.Draw(image)
    _background(canvas, float(look.lightness[item]), float(look.busyness[item]), rng)
    for _ in range(int(rng.integers(_DISTRACTORS + 1))):
        _distractor(canvas, rng)
    colour = _colour(float(look.hue[item]), 0.85, 0.9)
    middle = rng.uniform(0.42, 0.58, 2) * SIDE
    radius = float(rng.uniform(0.24, 0.32)) * SIDE
    _subject(canvas, SHAPES[int(look.shape[item])], middle, radius, colour)
    if look.tag[item]:
        _price_tag(canvas, rng)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _colour(hue: float, saturation: float, value: float) -> _Colour:
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def _background(
    canvas: ImageDraw.ImageDraw, lightness: float, busyness: float, rng: np.random.Generator
) -> None:
    tint, value = float(rng.random()), 0.15 + 0.8 * lightness
    canvas.rectangle((0, 0, SIDE, SIDE), fill=_colour(tint, 0.12, value))
    # Away from the middle grey, so that light and dark backgrounds show stripes alike.
    other = value + _STRONGEST_STRIPE * busyness * (-1 if value > 0.55 else 1)
    first = int(rng.integers(_STRIPES_APART))
    for left in range(first - SIDE, SIDE, _STRIPES_APART):
        canvas.line(
            (left, 0, left + SIDE, SIDE), fill=_colour(tint, 0.12, other), width=_STRIPE_WIDTH
        )


def _distractor(canvas: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    x, y = rng.uniform(0, SIDE, 2)
    half = float(rng.uniform(8, 20))
    colour = _colour(float(rng.random()), float(rng.uniform(0.2, 0.9)), float(rng.uniform(0.3, 1)))
    box = (x - half, y - half, x + half, y + half)
    if rng.random() < 0.5:
        canvas.ellipse(box, fill=colour)
    else:
        canvas.rectangle(box, fill=colour)


def _subject(
    canvas: ImageDraw.ImageDraw,
    shape: str,
    middle: npt.NDArray[np.float64],
    radius: float,
    colour: _Colour,
) -> None:
    x, y = (float(part) for part in middle)
    box = (x - radius, y - radius, x + radius, y + radius)
    if shape == "square":
        canvas.rectangle(box, fill=colour)
    elif shape == "triangle":
        canvas.polygon(_corners(x, y, [radius] * 3), fill=colour)
    elif shape == "star":
        canvas.polygon(_corners(x, y, [radius, 0.42 * radius] * 5), fill=colour)
    else:
        canvas.ellipse(box, fill=colour)
    if shape == "face":
        _features(canvas, x, y, radius)


def _features(canvas: ImageDraw.ImageDraw, x: float, y: float, radius: float) -> None:
    dark, eye = (30, 20, 20), 0.15 * radius
    for side in (-0.38, 0.38):
        left, top = x + side * radius, y - 0.3 * radius
        canvas.ellipse((left - eye, top - eye, left + eye, top + eye), fill=dark)
    mouth = (x - 0.5 * radius, y - 0.3 * radius, x + 0.5 * radius, y + 0.6 * radius)
    canvas.arc(mouth, 20, 160, fill=dark, width=max(2, round(0.12 * radius)))


def _price_tag(canvas: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    left, top = (float(part) for part in rng.uniform(6, 20, 2))
    canvas.rectangle((left, top, left + 92, top + 46), fill=(250, 220, 40), outline=(20, 20, 20))
    for line in range(3):
        height = top + 11 + 11 * line
        canvas.line((left + 10, height, left + 80 - 18 * line, height), fill=(20, 20, 20), width=4)


def _corners(x: float, y: float, radii: list[float]) -> list[tuple[float, float]]:
    turns = [2 * math.pi * index / len(radii) - math.pi / 2 for index in range(len(radii))]
    return [
        (x + radius * math.cos(turn), y + radius * math.sin(turn))
        for radius, turn in zip(radii, turns, strict=True)
    ]
