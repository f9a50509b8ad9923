"""Composes the items' texts from drawn attributes, so that the words carry a known signal.

Topic and urgency can be read off a bag of words. The promise cannot: "more comfort, less effort"
and "more effort, less comfort" have the same words, and opposite effects. Not for tokens: see
`tokens`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

TOPICS = (
    ("travel", ("a week by the sea", "the night train north", "a cabin in the hills")),
    ("kitchen", ("a pan that lasts", "the one knife you need", "bread at home")),
    ("money", ("a savings account", "a loan without papers", "the tax return")),
    ("sport", ("shoes for wet roads", "a bicycle for the city", "the home gym")),
    ("garden", ("tomatoes on a balcony", "a lawn that waters itself", "winter roses")),
    ("health", ("better sleep", "a stronger back", "the morning walk")),
    ("gadgets", ("a phone for two days", "headphones for the office", "a silent keyboard")),
    ("family", ("rainy day games", "a pram that folds", "the first school bag")),
)
_OPENERS = ("meet", "discover", "read about", "why people talk of", "the guide to", "we tested")
_URGENT = ("today only", "last chance", "hurry, few left")
_GOOD = ("comfort", "joy", "value", "time for you", "flavour")
_BAD = ("effort", "worry", "waste", "noise", "cost")
_PRAISE = ("a smart choice", "a real bargain", "the honest answer")
_BLAME = ("a cheap trick", "an empty promise", "a passing fashion")

_TOPIC_EFFECT = np.array([0.35, 0.1, -0.45, -0.1, 0.0, 0.25, 0.4, -0.55])
_URGENCY_EFFECT = 0.45
_PROMISE_EFFECT = 0.6


@dataclass(frozen=True)
class Wording:
    """Drawn attributes of all texts, each of shape (items,).

    Attributes:
        topic: index in `TOPICS`.
        urgent: whether it presses.
        promise: 1 if the order of its words makes it a good one, -1 a bad one, 0 if it has none.
        variant: chooses among words that mean the same; says nothing.
    """

    topic: npt.NDArray[np.int32]
    urgent: npt.NDArray[np.bool_]
    promise: npt.NDArray[np.int32]
    variant: npt.NDArray[np.int32]

    def appeal(self) -> npt.NDArray[np.float64]:
        """Return the logit that each text contributes to a click, shape (items,)."""
        topic: npt.NDArray[np.float64] = _TOPIC_EFFECT[self.topic]
        appeal: npt.NDArray[np.float64] = (
            topic + _URGENCY_EFFECT * self.urgent + _PROMISE_EFFECT * self.promise
        )
        return appeal


def draw(items: int, rng: np.random.Generator) -> Wording:
    """Return random attributes of `items` texts."""
    return Wording(
        topic=rng.integers(len(TOPICS), size=items, dtype=np.int32),
        urgent=rng.random(items) < 0.25,
        promise=rng.choice(np.array([-1, 0, 1], np.int32), size=items, p=[0.4, 0.2, 0.4]),
        variant=rng.integers(2**31, size=items, dtype=np.int32),
    )


def compose(wording: Wording, item: int) -> str:
    """Return the text of an item; the number at its end keeps every two texts apart."""
    variant = int(wording.variant[item])
    things = TOPICS[int(wording.topic[item])][1]
    parts = [f"{_pick(_OPENERS, variant)} {_pick(things, variant // 7)}"]
    promise = int(wording.promise[item])
    if promise:
        parts.append(_promise(promise, variant // 31))
    if wording.urgent[item]:
        parts.append(_pick(_URGENT, variant // 1009))
    return f"{', '.join(parts)}. Offer {item + 1}"


def _promise(sign: int, variant: int) -> str:
    if variant % 2:
        pair = (_pick(_GOOD, variant // 2), _pick(_BAD, variant // 11))
        more, less = pair if sign > 0 else pair[::-1]
        return f"more {more}, less {less}"
    pair = (_pick(_BLAME, variant // 2), _pick(_PRAISE, variant // 11))
    denied, said = pair if sign > 0 else pair[::-1]
    return f"not {denied} but {said}"


def _pick(words: tuple[str, ...], number: int) -> str:
    return words[number % len(words)]
