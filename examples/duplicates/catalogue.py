"""A catalogue with known duplicates, and items that look alike and are not the same.

For each few products there is a copy whose picture and text were altered, and for each few others
an item that only looks like a copy. `pairs.csv` says which pair is which.
"""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from examples.duplicates import pictures, texts
from examples.duplicates.pictures import COLOURS, SHAPES, Look
from examples.duplicates.texts import Product

ITEMS_FILE = "items.csv"
PAIRS_FILE = "pairs.csv"
_IMAGES = "images"
_LOW_QUALITY = (15, 25, 40)

LOOKALIKES = ("other colour", "other size", "other product", "other picture")
"""Same drawing and text but for the colour; same picture, text but for the size; same picture, text
of another product; same text, another picture."""


@dataclass(frozen=True)
class Pair:
    """Two items and what is known of them.

    Attributes:
        first, second: their ids.
        duplicate: whether they are the same item.
        image_kind, text_kind: how the second was made from the first.
    """

    first: str
    second: str
    duplicate: bool
    image_kind: str
    text_kind: str


@dataclass(frozen=True)
class _Item:
    name: str
    text: str
    image: str


def generate(folder: Path, products: int, seed: int) -> list[Pair]:
    """Write a catalogue: `items.csv`, `images/`, `pairs.csv`; return the pairs.

    Args:
        folder: made if it is not there.
        products: how many; 40 % have a copy, 30 % a look-alike.
        seed: other seeds give other products.
    """
    (folder / _IMAGES).mkdir(parents=True, exist_ok=True)
    maker = _Maker(folder, random.Random(seed))
    for number in range(products):
        maker.add(number, number % 10)
    maker.shuffle_and_write()
    return maker.pairs


class _Maker:
    def __init__(self, folder: Path, rng: random.Random) -> None:
        self._folder = folder
        self._rng = rng
        self._items: list[_Item] = []
        self._products: set[Product] = set()
        self.pairs: list[Pair] = []

    def add(self, number: int, turn: int) -> None:
        """Add a product and, depending on `turn` (0 to 9), a copy or a look-alike."""
        rng = self._rng
        shape, colour = rng.choice(SHAPES), rng.choice(list(COLOURS))
        look = Look(shape, colour, rng.randrange(2**32))
        product = self._invent(shape, colour)
        picture = pictures.draw(look)
        name = f"p{number:05}"
        self._put(name, texts.title(product), picture)
        if turn < 4:
            self._copy(name, product, picture)
        elif turn < 7:
            self._look_alike(name, product, look, picture)

    def _invent(self, shape: str, colour: str) -> Product:
        """Return a product unlike all others: what chance repeats would be a duplicate."""
        while (product := texts.invent(shape, colour, self._rng)) in self._products:
            pass
        return self._told_apart(product)

    def _told_apart(self, product: Product) -> Product:
        self._products.add(product)
        return product

    def _copy(self, name: str, product: Product, picture: Image.Image) -> None:
        count = len(self.pairs)
        image_kinds, text_kinds = list(pictures.ALTERATIONS), list(texts.ALTERATIONS)
        image_kind = image_kinds[count % len(image_kinds)]
        text_kind = text_kinds[(count + count // len(image_kinds)) % len(text_kinds)]
        copy = pictures.ALTERATIONS[image_kind](picture, self._rng)
        quality = self._rng.choice(_LOW_QUALITY) if image_kind == "recompressed" else 88
        text = texts.ALTERATIONS[text_kind](product, self._rng)
        self._put(f"{name}-copy", text, copy, quality)
        self.pairs.append(Pair(name, f"{name}-copy", True, image_kind, text_kind))

    def _look_alike(self, name: str, product: Product, look: Look, picture: Image.Image) -> None:
        rng = self._rng
        kind = LOOKALIKES[len(self.pairs) % len(LOOKALIKES)]
        colour = rng.choice([one for one in COLOURS if one != look.colour])
        if kind == "other colour":
            picture = pictures.draw(replace(look, colour=colour))
            product = self._told_apart(replace(product, colour=colour))
        elif kind == "other size":
            product = self._told_apart(product.resized(rng))
        elif kind == "other product":
            product = self._invent(rng.choice(SHAPES), colour)
        else:
            picture = pictures.draw(replace(look, seed=rng.randrange(2**32)))
        self._put(f"{name}-like", texts.title(product), picture, 90)
        self.pairs.append(Pair(name, f"{name}-like", False, kind, kind))

    def _put(self, name: str, text: str, picture: Image.Image, quality: int = 92) -> None:
        image = f"{_IMAGES}/{name}.jpg"
        (self._folder / image).write_bytes(pictures.encode(picture, quality))
        self._items.append(_Item(name, text, image))

    def shuffle_and_write(self) -> None:
        """Write both tables, items in random order."""
        self._rng.shuffle(self._items)
        with (self._folder / ITEMS_FILE).open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(("id", "text", "image"))
            rows.writerows((item.name, item.text, item.image) for item in self._items)
        with (self._folder / PAIRS_FILE).open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(("id_a", "id_b", "duplicate", "image_kind", "text_kind"))
            for pair in self.pairs:
                kinds = (pair.image_kind, pair.text_kind)
                rows.writerow((pair.first, pair.second, int(pair.duplicate), *kinds))
