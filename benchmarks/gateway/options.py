"""How much a run measures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """How much is measured.

    Attributes:
        rounds: in which everything takes turns.
        seconds: of one slice.
        quick: fewer sizes and less of everything: to see that it works.
        peers: measure what needs an environment or a server of its own.
        vectors: most archived vectors that `growth` goes to.
    """

    rounds: int = 5
    seconds: float = 0.2
    quick: bool = False
    peers: bool = True
    vectors: int = 10_000_000
