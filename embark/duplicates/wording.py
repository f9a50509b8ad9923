"""What tells two texts apart that an encoder takes for nearly the same: numbers and words. Pure.

An encoder sees little between "128 GB" and "256 GB", or between "red" and "blue", and much in a
slip of the pen. So texts are also compared word by word: what is the same but for case, order,
punctuation or a typo agrees. Not for meaning: that is the encoder's.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

# Chinese and Japanese write no spaces between words: each sign counts as one.
_SIGN = r"\u3040-\u30ff\u3400-\u9fff"
_TOKEN = re.compile(rf"\d+(?:[.,]\d+)*|[{_SIGN}]|[^\W\d_{_SIGN}]+")
_MOST_TOKENS = 200
_SHORTEST_WITH_TYPO = 4
_LONG = 8
_MOST_EXCHANGED = 2

_VARIANTS = frozenset(
    """
    red blue green black white yellow orange purple violet grey gray brown pink turquoise beige
    gold golden silver navy cyan magenta
    rot blau grün schwarz weiss gelb lila grau braun rosa türkis silber
    rouge bleu vert noir blanc jaune gris brun marron rose doré argent
    rojo azul verde negro blanco amarillo naranja morado marrón plata
    rosso blu nero bianco giallo arancione viola grigio marrone oro argento
    xs s m l xl xxl xxxl
    """.split()  # noqa: SIM905
)
"""Words by which sellers tell variants of one product apart."""


@dataclass(frozen=True, slots=True)
class Wording:
    """A text's words and numbers, in order, and each with how often it is there."""

    tokens: tuple[str, ...]
    words: Counter[str]
    numbers: Counter[str]


@dataclass(frozen=True, slots=True)
class Contrast:
    """How two wordings disagree.

    Attributes:
        contradiction: whether they name different variants: each has a number, a colour or a size
            that the other lacks, or they are the same sentence but for a word or two.
        words: share of the shorter one's words, 0 to 1, in whose place the other has other words.
    """

    contradiction: bool
    words: float


def wording(text: str) -> Wording:
    """Return a text's words without case, and its numbers; of a long text, the first ones."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    tokens = tuple(
        _number(token) if token[0].isdecimal() else token
        for token in _TOKEN.findall(plain)[:_MOST_TOKENS]
    )
    numbers = Counter(token for token in tokens if token[0].isdecimal())
    return Wording(tokens, Counter(tokens) - numbers, numbers)


def contrast(one: Wording, other: Wording) -> Contrast:
    """Return how two wordings disagree; the same in either order."""
    mine, yours = one.words - other.words, other.words - one.words
    variants = _VARIANTS & mine.keys(), _VARIANTS & yours.keys()
    contradiction = (
        bool(one.numbers - other.numbers and other.numbers - one.numbers)
        or all(variants)
        or _exchanged(one.tokens, other.tokens)
    )
    shorter = min(one.words.total(), other.words.total())
    replaced = min(_without_typos(mine, yours))
    return Contrast(contradiction, replaced / shorter if shorter else 0.0)


@lru_cache(2**17)
def is_typo(one: str, other: str) -> bool:
    """Whether two words differ by a slip: one edit, in long words two; swapped letters are one."""
    if min(len(one), len(other)) < _SHORTEST_WITH_TYPO:
        return False
    most = 2 if min(len(one), len(other)) >= _LONG else 1
    return abs(len(one) - len(other)) <= most and _edits(one, other) <= most


def _exchanged(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two sentences are the same, word for word, but for one or two in the same places."""
    if len(one) != len(other):
        return False
    places = [(a, b) for a, b in zip(one, other, strict=True) if a != b]
    if not places or len(places) > len(one) // 2:
        return False
    return 0 < sum(not is_typo(a, b) for a, b in places) <= _MOST_EXCHANGED


def _number(token: str) -> str:
    """Return a number without separators of thousands, and with a point for decimals."""
    *groups, last = token.replace(",", ".").split(".")
    if groups and len(last) == 3 and groups[0] != "0":
        groups, last = [*groups, last], ""
    elif not groups:
        groups, last = [last], ""
    whole, fraction = "".join(groups).lstrip("0") or "0", last.rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def _without_typos(mine: Counter[str], yours: Counter[str]) -> tuple[int, int]:
    """Return how many words of each are left when those that differ by a typo are matched."""
    left = sorted(yours.elements())
    unmatched = 0
    for word in sorted(mine.elements()):
        match = next((one for one in left if is_typo(word, one)), None)
        if match is None:
            unmatched += 1
        else:
            left.remove(match)
    return unmatched, len(left)


def _edits(one: str, other: str) -> int:
    """Return the distance of Damerau and Levenshtein, without overlapping swaps."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        line = [row]
        for column, against in enumerate(other, 1):
            cost = min(last[column] + 1, line[-1] + 1, last[column - 1] + (letter != against))
            swapped = row > 1 and column > 1 and letter == other[column - 2]
            if swapped and one[row - 2] == against:
                cost = min(cost, before[column - 2] + 1)
            line.append(cost)
        before, last = last, line
    return last[-1]
