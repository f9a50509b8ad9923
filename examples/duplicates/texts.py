"""Texts of products that do not exist, and what becomes of a text that is copied."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

_BRANDS = (
    "Nordlicht", "Havsund", "Ostrava", "Kestrel", "Bramble", "Quillon", "Tamarin", "Vireo",
    "Solveig", "Pinecrest", "Lumora", "Arvika", "Calder", "Mistral", "Fennel", "Oriole",
)  # fmt: skip
_LINES = (
    "Aurora", "Basalt", "Cascade", "Delta", "Ember", "Fjord", "Glade", "Harbour", "Iris", "Jetty",
    "Knoll", "Lagoon", "Meadow", "Nimbus", "Orchard", "Prairie", "Quartz", "Ridge", "Summit",
    "Tundra",
)  # fmt: skip


@dataclass(frozen=True)
class _Kind:
    noun: str
    other_noun: str
    unit: str
    sizes: tuple[int, ...]
    features: tuple[tuple[str, str], ...]


_KINDS = {
    "bottle": _Kind("water bottle", "drinking bottle", "ml", (500, 650, 750, 1000),
        (("leakproof lid", "a lid that does not leak"), ("made of steel", "stainless steel body"))),
    "lamp": _Kind("table lamp", "desk light", "W", (5, 8, 12, 40),
        (("dimmable", "with a dimmer"), ("linen shade", "a shade made of linen"))),
    "mug": _Kind("coffee mug", "cup for coffee", "ml", (250, 300, 350, 400),
        (("dishwasher safe", "may go in the dishwasher"), ("hand glazed", "glazed by hand"))),
    "chair": _Kind("dining chair", "chair for the dining room", "cm", (78, 82, 90, 95),
        (("solid oak legs", "with legs of solid oak"), ("padded seat", "the seat is upholstered"))),
    "phone": _Kind("smartphone", "mobile phone", "GB", (64, 128, 256, 512),
        (("dual SIM", "takes two SIM cards"), ("5G", "works with 5G"))),
    "backpack": _Kind("hiking backpack", "rucksack for hiking", "l", (20, 28, 35, 50),
        (("rain cover included", "comes with a rain cover"), ("padded straps", "soft straps"))),
    "clock": _Kind("wall clock", "clock for the wall", "cm", (25, 30, 38, 45),
        (("silent movement", "does not tick"), ("wooden frame", "framed in wood"))),
    "poster": _Kind("framed print", "poster in a frame", "cm", (30, 40, 50, 70),
        (("matte paper", "printed on matte paper"), ("ready to hang", "can be hung at once"))),
    "speaker": _Kind("bluetooth speaker", "wireless loudspeaker", "W", (10, 20, 30, 60),
        (("waterproof", "can take a splash"), ("12 hours of battery", "battery for 12 hours"))),
    "shoe": _Kind("running shoe", "trainers for running", "size", (38, 40, 42, 44),
        (("breathable mesh", "mesh that breathes"), ("cushioned sole", "a sole with cushioning"))),
}  # fmt: skip


@dataclass(frozen=True)
class Product:
    """What a product's texts say.

    Attributes:
        shape: what it is, one of `examples.duplicates.pictures.SHAPES`.
        brand, line: its names.
        colour: name of its colour.
        size: a number of its kind's unit.
        feature: which of its kind's features.
    """

    shape: str
    brand: str
    line: str
    colour: str
    size: int
    feature: int

    def resized(self, rng: random.Random) -> Product:
        """Return another size of the same product."""
        sizes = [size for size in _KINDS[self.shape].sizes if size != self.size]
        return replace(self, size=rng.choice(sizes))


def invent(shape: str, colour: str, rng: random.Random) -> Product:
    """Return a product."""
    sizes = _KINDS[shape].sizes
    return Product(
        shape, rng.choice(_BRANDS), rng.choice(_LINES), colour, rng.choice(sizes), rng.randrange(2)
    )


def title(product: Product) -> str:
    """Return a product's text as its seller writes it."""
    kind = _KINDS[product.shape]
    feature = kind.features[product.feature][0]
    return (
        f"{product.brand} {product.line} {kind.noun}, {product.colour}, {_size(product)}, {feature}"
    )


def paraphrase(product: Product, rng: random.Random) -> str:
    """Return the same in other words, in another order."""
    kind = _KINDS[product.shape]
    noun = rng.choice((kind.noun, kind.other_noun))
    feature = kind.features[product.feature][rng.randrange(2)]
    name, colour, size = f"{product.brand} {product.line}", product.colour, _size(product)
    return rng.choice((
        f"{name}: {colour} {noun} ({size}), {feature}",
        f"{noun.capitalize()} {name} in {colour}, {size}. {feature.capitalize()}.",
        f"New {colour} {noun} by {product.brand}, model {product.line}, {size}, {feature}",
        f"{product.line} {noun} from {product.brand}. Colour: {colour}. {size}. {feature}",
    ))  # fmt: skip


def _size(product: Product) -> str:
    unit = _KINDS[product.shape].unit
    return f"size {product.size}" if unit == "size" else f"{product.size} {unit}"


def _case(text: str, rng: random.Random) -> str:
    return rng.choice((text.upper(), text.lower(), text.title()))


def _typos(text: str, rng: random.Random) -> str:
    """Swap, drop or double a letter in one or two words; numbers stay."""
    words = text.split(" ")
    long_ones = [place for place, word in enumerate(words) if len(word) > 4 and word.isalpha()]
    for place in rng.sample(long_ones, min(len(long_ones), rng.randint(1, 2))):
        word = words[place]
        at = rng.randrange(1, len(word) - 2)
        words[place] = rng.choice((
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
        ))  # fmt: skip
    return " ".join(words)


ALTERATIONS: dict[str, Callable[[Product, random.Random], str]] = {
    "same": lambda product, rng: title(product),
    "paraphrase": paraphrase,
    "case": lambda product, rng: _case(title(product), rng),
    "typo": lambda product, rng: _typos(title(product), rng),
}
"""What becomes of a copied text."""
