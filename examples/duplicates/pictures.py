"""Pictures of products that do not exist, and what becomes of a picture that is copied.

Drawn with Pillow, some over photographs that scikit-image and scikit-learn carry. Not for texts:
`examples.duplicates.texts`.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageDraw, ImageEnhance

from examples.demo.inputs import photographs

COLOURS = {
    "red": (190, 40, 45), "blue": (45, 75, 180), "green": (40, 140, 75), "black": (35, 35, 38),
    "white": (238, 238, 232), "yellow": (235, 200, 50), "orange": (230, 125, 40),
    "purple": (125, 60, 150), "grey": (130, 132, 136), "brown": (120, 80, 50),
    "pink": (235, 150, 175), "turquoise": (50, 180, 180),
}  # fmt: skip

SHAPES = (
    "bottle",
    "lamp",
    "mug",
    "chair",
    "phone",
    "backpack",
    "clock",
    "poster",
    "speaker",
    "shoe",
)

_SIDE = 320

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """What a product's picture is drawn from.

    Attributes:
        shape: one of `SHAPES`.
        colour: a name in `COLOURS`.
        seed: of everything else: background, proportions, pattern, place.
    """

    shape: str
    colour: str
    seed: int


def draw(look: Look) -> Image.Image:
    """Return a product's picture, RGB; looks that differ in colour alone differ in nothing else."""
    rng = random.Random(look.seed)
    picture = _background(rng)
    width = int(_SIDE * rng.uniform(0.4, 0.75))
    height = int(_SIDE * rng.uniform(0.45, 0.8))
    left = rng.randint(10, _SIDE - width - 10)
    top = rng.randint(10, _SIDE - height - 10)
    pen = ImageDraw.Draw(picture)
    box = (left, top, left + width, top + height)
    if look.shape == "poster":
        _poster(picture, box, COLOURS[look.colour], rng)
    else:
        _SHAPES[look.shape](pen, box, COLOURS[look.colour], rng)
        _pattern(pen, box, COLOURS[look.colour], rng)
    return picture


def _background(rng: random.Random) -> Image.Image:
    kind = rng.choice(("plain", "gradient", "photograph", "photograph"))
    if kind == "photograph":
        return _cut(rng, _SIDE, _SIDE)
    pale = [rng.randint(170, 250) for _ in range(3)]
    picture = Image.new("RGB", (_SIDE, _SIDE), tuple(pale))
    if kind == "gradient":
        pen = ImageDraw.Draw(picture)
        slope = rng.uniform(0.1, 0.5)
        for row in range(_SIDE):
            factor = 1 - slope * row / _SIDE
            pen.line((0, row, _SIDE, row), tuple(int(part * factor) for part in pale))
    return picture


def _cut(rng: random.Random, width: int, height: int) -> Image.Image:
    photograph = rng.choice(_photographs())
    side = int(min(photograph.size) * rng.uniform(0.3, 0.9))
    left = rng.randint(0, photograph.width - side)
    top = rng.randint(0, photograph.height - side)
    cut = photograph.crop((left, top, left + side, top + side)).resize((width, height))
    return ImageEnhance.Brightness(cut).enhance(rng.uniform(0.7, 1.2))


@cache
def _photographs() -> tuple[Image.Image, ...]:
    return tuple(
        Image.open(io.BytesIO(data)).convert("RGB") for _, data in sorted(photographs().items())
    )


Box = tuple[int, int, int, int]


def _at(box: Box, x0: float, y0: float, x1: float, y1: float) -> Box:
    """Return a part of a box, in fractions of it."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    return (
        int(left + x0 * width),
        int(top + y0 * height),
        int(left + x1 * width),
        int(top + y1 * height),
    )


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, int(part * factor)) for part in colour)
    return red, green, blue


def _bottle(pen: ImageDraw.ImageDraw, box: Box, colour: Colour, rng: random.Random) -> None:
    neck = rng.uniform(0.12, 0.22)
    pen.rounded_rectangle(_at(box, 0.2, 0.3, 0.8, 1), 18, colour)
    pen.rectangle(_at(box, 0.5 - neck, 0.08, 0.5 + neck, 0.4), colour)
    pen.rectangle(_at(box, 0.48 - neck, 0, 0.52 + neck, 0.1), _shade(colour, 0.5))
    pen.rectangle(_at(box, 0.25, rng.uniform(0.45, 0.6), 0.75, 0.8), (240, 240, 230))


def _lamp(pen: ImageDraw.ImageDraw, box: Box, colour: Colour, rng: random.Random) -> None:
    left, top, right, bottom = box
    middle, half = (left + right) // 2, int((right - left) * rng.uniform(0.15, 0.3))
    edge = top + int((bottom - top) * rng.uniform(0.3, 0.5))
    pen.polygon([(middle - half, top), (middle + half, top), (right, edge), (left, edge)], colour)
    pen.rectangle((middle - 4, edge, middle + 4, bottom), _shade(colour, 0.4))
    pen.ellipse(_at(box, 0.2, 0.92, 0.8, 1.04), _shade(colour, 0.5))


def _mug(pen: ImageDraw.ImageDraw, box: Box, colour: Colour, rng: random.Random) -> None:
    pen.ellipse(_at(box, 0.55, 0.25, 1, rng.uniform(0.65, 0.8)), None, _shade(colour, 0.7), 12)
    pen.rounded_rectangle(_at(box, 0, 0.1, 0.75, 1), 14, colour)
    pen.ellipse(_at(box, 0, 0, 0.75, 0.2), _shade(colour, 0.5))


def _chair(pen: ImageDraw.ImageDraw, box: Box, colour: Colour, rng: random.Random) -> None:
    seat = rng.uniform(0.45, 0.6)
    pen.rounded_rectangle(_at(box, 0.1, 0, 0.9, seat), rng.randint(4, 40), colour)
    pen.rectangle(_at(box, 0, seat, 1, seat + 0.12), _shade(colour, 0.8))
    for x in (0.05, 0.88):
        pen.rectangle(_at(box, x, seat + 0.12, x + 0.07, 1), (110, 80, 55))


def _phone(pen: ImageDraw.ImageDraw, box: Box, colour: Colour, rng: random.Random) -> None:
    pen.rounded_rectangle(_at(box, 0.2, 0, 0.8, 1), 22, colour)
    pen.rounded_rectangle(_at(box, 0.24, 0.05, 0.76, 0.95), 12, (20, 24, 40))
    for row in range(rng.randint(2, 4)):
        for column in range(3):
            x, y = 0.3 + 0.15 * column, 0.15 + 0.15 * row
            icon = rng.choice(list(COLOURS.values()))
            pen.rounded_rectangle(_at(box, x, y, x + 0.1, y + 0.09), 3, icon)


def _backpack(pen: ImageDraw.ImageDraw, box: Box, colour: Colour, rng: random.Random) -> None:
    pen.arc(_at(box, 0.35, -0.1, 0.65, 0.2), 180, 360, _shade(colour, 0.5), 8)
    pen.rounded_rectangle(_at(box, 0.1, 0.05, 0.9, 1), 40, colour)
    pocket = rng.uniform(0.5, 0.65)
    pen.rounded_rectangle(_at(box, 0.2, pocket, 0.8, 0.95), 12, _shade(colour, 0.75))
    pen.line(_at(box, 0.2, pocket + 0.08, 0.8, pocket + 0.08), (225, 225, 225), 4)


def _clock(pen: ImageDraw.ImageDraw, box: Box, colour: Colour, rng: random.Random) -> None:
    pen.ellipse(box, colour)
    pen.ellipse(_at(box, 0.1, 0.1, 0.9, 0.9), (245, 242, 235))
    for _ in range(2):
        x, y = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8)
        pen.line(_at(box, 0.5, 0.5, x, y), (30, 30, 30), rng.randint(4, 8))


def _speaker(pen: ImageDraw.ImageDraw, box: Box, colour: Colour, rng: random.Random) -> None:
    pen.rounded_rectangle(box, 16, colour)
    for y in (0.1, 0.52):
        size = rng.uniform(0.25, 0.38)
        pen.ellipse(_at(box, 0.5 - size, y, 0.5 + size, y + 0.38), (40, 40, 42))
        pen.ellipse(_at(box, 0.42, y + 0.13, 0.58, y + 0.25), (150, 150, 150))


def _shoe(pen: ImageDraw.ImageDraw, box: Box, colour: Colour, rng: random.Random) -> None:
    left, top, right, bottom = box
    toe = top + int((bottom - top) * rng.uniform(0.5, 0.7))
    pen.polygon(
        [(left, top), ((left + right) // 2, top), (right, toe), (right, bottom), (left, bottom)],
        colour,
    )
    pen.rectangle(_at(box, -0.03, 0.88, 1.03, 1.02), (240, 240, 240))


def _poster(picture: Image.Image, box: Box, colour: Colour, rng: random.Random) -> None:
    left, top, right, bottom = box
    ImageDraw.Draw(picture).rectangle(box, colour)
    picture.paste(_cut(rng, right - left - 20, bottom - top - 20), (left + 10, top + 10))


_SHAPES: dict[str, Callable[[ImageDraw.ImageDraw, Box, Colour, random.Random], None]] = {
    "bottle": _bottle, "lamp": _lamp, "mug": _mug, "chair": _chair, "phone": _phone,
    "backpack": _backpack, "clock": _clock, "speaker": _speaker, "shoe": _shoe,
}  # fmt: skip


def _pattern(pen: ImageDraw.ImageDraw, box: Box, colour: Colour, rng: random.Random) -> None:
    kind = rng.choice(("none", "stripes", "dots"))
    light = _shade(colour, 1.4)
    for step in range(rng.randint(2, 5)):
        place = 0.42 + 0.09 * step
        if kind == "stripes":
            pen.line(_at(box, 0.3, place, 0.7, place), light, 4)
        elif kind == "dots":
            x = rng.uniform(0.3, 0.65)
            pen.ellipse(_at(box, x, place, x + 0.06, place + 0.05), light)


def _crop(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Lose 5 to 15 % of the width and of the height."""
    width, height = picture.size
    kept_width, kept_height = (int(side * rng.uniform(0.85, 0.95)) for side in picture.size)
    left, top = rng.randint(0, width - kept_width), rng.randint(0, height - kept_height)
    return picture.crop((left, top, left + kept_width, top + kept_height))


def _watermark(picture: Image.Image, rng: random.Random) -> Image.Image:
    layer = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    tone = rng.choice((255, 0))
    place = (picture.width * rng.uniform(0.05, 0.4), picture.height * rng.uniform(0.1, 0.8))
    mark = rng.choice(("SHOP24.EXAMPLE", "(c) PHOTO", "BEST PRICE", "SAMPLE"))
    pen.text(place, mark, (tone, tone, tone, 130), font_size=picture.width // 9)
    return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")


def _resize(picture: Image.Image, rng: random.Random) -> Image.Image:
    side = int(picture.width * rng.uniform(0.4, 0.8))
    return picture.resize((side, side * picture.height // picture.width))


def _brightness(picture: Image.Image, rng: random.Random) -> Image.Image:
    return ImageEnhance.Brightness(picture).enhance(rng.choice((0.8, 0.85, 1.15, 1.2)))


def _same(picture: Image.Image, rng: random.Random) -> Image.Image:
    return picture


ALTERATIONS: dict[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "same": _same, "crop": _crop, "recompressed": _same, "watermark": _watermark,
    "resized": _resize, "brightness": _brightness,
}  # fmt: skip
"""What becomes of a copied picture. `recompressed` is what `encode` does with a low quality."""


def encode(picture: Image.Image, quality: int = 92) -> bytes:
    """Return a picture as JPEG."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()
