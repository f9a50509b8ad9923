"""From vectors to groups: candidates, scores, groups. Needs no service.

Items that have the very same text and picture are one node from the start, so that a thousand equal
items are neither a million pairs nor in the way of others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from embark.duplicates.candidates import Pairs, nearest_pairs
from embark.duplicates.deciding import (
    CONTRADICTION,
    FEATURES,
    IMAGE,
    TEXT,
    WORDS,
    Rules,
    accepted,
    scores,
)
from embark.duplicates.grouping import Star, stars
from embark.duplicates.items import Item
from embark.duplicates.space import Space
from embark.duplicates.wording import Wording, contrast, wording

_NEAREST = 10
_OF_A_SHARED_ROW = 5
_LEAST_TEXT, _LEAST_IMAGE = 0.35, 0.2
_REMEMBERED = 2**17

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

Report = Callable[[str, int, int], None]
"""Is told what is being done, how much of it is done, and of how much."""


@dataclass(frozen=True)
class Side:
    """One modality of a catalogue.

    Attributes:
        space: of its vectors.
        rows: of each item, its row in the space, -1 if it has no vector; shape (items,).
    """

    space: Space
    rows: Rows


@dataclass(frozen=True)
class Member:
    """An item in a group, beside the group's representative.

    Attributes:
        item: its position in the catalogue.
        score: 0 to 1; 1 for the representative itself.
        text_cosine, image_cosine: -1 to 1 after centring, None if not both have one.
    """

    item: int
    score: float
    text_cosine: float | None
    image_cosine: float | None


@dataclass(frozen=True)
class Group:
    """Items that are duplicates; the first is the representative."""

    members: tuple[Member, ...]


@dataclass(frozen=True)
class _Nodes:
    """Items by text and picture: what each node's are, and the rows of the first."""

    of_item: Rows
    items: list[list[int]] = field(repr=False)
    text_rows: Rows
    image_rows: Rows


class Finder:
    """Judges the pairs of one catalogue.

    Args:
        items: the catalogue.
        text: None if it is not compared by text.
        image: None if it is not compared by picture.
    """

    def __init__(self, items: Sequence[Item], text: Side | None, image: Side | None) -> None:
        absent = np.full(len(items), -1, np.int64)
        self._items: Final = items
        self._text: Final = text
        self._image: Final = image
        self._nodes: Final = _nodes(
            absent if text is None else text.rows, absent if image is None else image.rows
        )
        self._wording: Final = lru_cache(_REMEMBERED)(self._wording_of)

    def node_items(self) -> Sequence[Sequence[int]]:
        """Return the items of each node, by position in the catalogue."""
        return self._nodes.items

    def groups(self, rules: Rules, report: Report) -> list[Group]:
        """Return the groups, largest first, in an order that depends on the input alone."""
        pairs = self.candidates(report)
        report("scores", 0, 1)
        features, found = self._judge(pairs.first, pairs.second, rules)
        good = accepted(features, found, rules)
        report("scores", 1, 1)
        found_stars = stars(
            pairs.first[good],
            pairs.second[good],
            found[good],
            lambda node, others: self._are_duplicates(node, others, rules),
        )
        joined = {node for star in found_stars for node in (star.representative, *star.members)}
        alone = [
            Star(node, ())
            for node, twins in enumerate(self._nodes.items)
            if len(twins) > 1 and node not in joined
        ]
        groups = self._groups([*found_stars, *alone], rules)
        groups.sort(key=lambda group: (-len(group.members), group.members[0].item))
        return groups

    def labelled(
        self, pairs: Sequence[tuple[int, int, bool]]
    ) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Return what scores are made of, shape (pairs, 4), and which pairs are duplicates."""
        ends = np.array([pair[:2] for pair in pairs], np.int64).reshape(-1, 2)
        first, second = self._nodes.of_item[ends].T
        features = self._cosines(first, second)
        self._add_wording(features, first, second, np.arange(len(pairs)))
        return features, np.array([pair[2] for pair in pairs], np.bool_)

    def candidates(self, report: Report) -> Pairs:
        """Return the pairs of nodes that are worth a score."""
        sides = (
            ("texts", self._text, self._nodes.text_rows, _LEAST_TEXT),
            ("pictures", self._image, self._nodes.image_rows, _LEAST_IMAGE),
        )
        found = [np.empty((0, 2), np.int64)]
        for name, side, rows, least in sides:
            if side is None:
                continue

            def of_side(done: int, total: int, name: str = name) -> None:
                report(name, done, total)

            near = nearest_pairs(side.space.seen, _NEAREST, least, of_side)
            used = side.space.rows
            found.append(_of_nodes(rows, used[near.first], used[near.second]))
        unique = np.unique(np.concatenate(found), axis=0)
        return Pairs(unique[:, 0], unique[:, 1])

    def _cosines(self, first: Rows, second: Rows) -> Floats:
        features = np.zeros((len(first), FEATURES))
        for column, side, rows in (
            (TEXT, self._text, self._nodes.text_rows),
            (IMAGE, self._image, self._nodes.image_rows),
        ):
            features[:, column] = np.nan
            both = (rows[first] >= 0) & (rows[second] >= 0)
            if side is not None and both.any():
                features[both, column] = side.space.cosines(rows[first][both], rows[second][both])
        return features

    def _add_wording(self, features: Floats, first: Rows, second: Rows, which: Rows) -> None:
        for pair in which.tolist():
            if not np.isnan(features[pair, TEXT]):
                one, other = self._wording(int(first[pair])), self._wording(int(second[pair]))
                found = contrast(one, other)
                features[pair, CONTRADICTION] = found.contradiction
                features[pair, WORDS] = found.words

    def _judge(self, first: Rows, second: Rows, rules: Rules) -> tuple[Floats, Floats]:
        """Return features and scores; words are compared only where they can still decide."""
        features = self._cosines(first, second)
        best = features.copy()
        for basis, rule in rules.items():
            for column, weight in zip(basis.columns, rule.weights, strict=True):
                if column in (CONTRADICTION, WORDS) and weight > 0:
                    best[:, column] = 1
        open_ones = accepted(best, scores(best, rules), rules)
        self._add_wording(features, first, second, np.flatnonzero(open_ones))
        found = scores(features, rules)
        found[~open_ones] = 0
        return features, found

    def _are_duplicates(self, node: int, others: Rows, rules: Rules) -> npt.NDArray[np.bool_]:
        features, found = self._judge(np.full(len(others), node), others, rules)
        return accepted(features, found, rules)

    def _groups(self, found_stars: Sequence[Star], rules: Rules) -> list[Group]:
        """Return the groups of stars; equal items by themselves must be judged first."""
        nodes = [(star.representative, *star.members) for star in found_stars]
        second = np.array([node for some in nodes for node in some], np.int64)
        sizes = np.array([len(some) for some in nodes], np.int64)
        first = np.repeat(np.array([some[0] for some in nodes], np.int64), sizes)
        features, found = self._judge(first, second, rules)
        good = accepted(features, found, rules)
        groups = []
        for some, start in zip(nodes, (np.cumsum(sizes) - sizes).tolist(), strict=True):
            if len(some) == 1 and not good[start]:
                continue
            first_one, *rest = [
                Member(item, float(found[at]), _cosine(features[at, TEXT]),
                       _cosine(features[at, IMAGE]))
                for at, node in enumerate(some, start)
                for item in self._nodes.items[node]
            ]  # fmt: skip
            rest.sort(key=lambda member: (-member.score, member.item))
            groups.append(Group((replace(first_one, score=1.0), *rest)))
        return groups

    def _wording_of(self, node: int) -> Wording:
        return wording(self._items[self._nodes.items[node][0]].text)


def _cosine(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _nodes(text_rows: Rows, image_rows: Rows) -> _Nodes:
    """Join items of equal rows; one that has neither text nor picture is left by itself."""
    of_item = np.empty(len(text_rows), np.int64)
    numbers: dict[tuple[int, int, int], int] = {}
    items: list[list[int]] = []
    for item, (text, image) in enumerate(zip(text_rows.tolist(), image_rows.tolist(), strict=True)):
        alone = item if text < 0 and image < 0 else -1
        node = numbers.setdefault((text, image, alone), len(items))
        if node == len(items):
            items.append([])
        items[node].append(item)
        of_item[item] = node
    firsts = np.array([some[0] for some in items], np.int64)
    return _Nodes(of_item, items, text_rows[firsts], image_rows[firsts])


def _of_nodes(rows: Rows, first: Rows, second: Rows) -> Rows:
    """Return the pairs of nodes behind pairs of rows, and behind rows that nodes share.

    A row that many share is no evidence, and would be many pairs: each of its nodes is paired with
    a few others.
    """
    nodes = np.flatnonzero(rows >= 0)
    order = nodes[np.argsort(rows[nodes], kind="stable")]
    starts = np.flatnonzero(np.diff(rows[order], prepend=-1))
    sharing = dict(zip(rows[order[starts]].tolist(), np.split(order, starts[1:]), strict=True))
    leader = np.full(int(rows.max(initial=-1)) + 1, -1, np.int64)
    leader[rows[order[::-1]]] = order[::-1]
    found = [np.column_stack([leader[first], leader[second]])]
    shared = {row for row, some in sharing.items() if len(some) > 1}
    if shared:
        is_shared = np.zeros(len(leader), np.bool_)
        is_shared[list(shared)] = True
        for pair in np.flatnonzero(is_shared[first] | is_shared[second]).tolist():
            some, others = (sharing[int(ends[pair])][:_OF_A_SHARED_ROW] for ends in (first, second))
            found.append(np.stack(np.meshgrid(some, others), axis=-1).reshape(-1, 2))
    for row in sorted(shared):
        some = sharing[row]
        found += [
            np.column_stack([some[:-step], some[step:]])
            for step in range(1, min(_NEAREST, len(some)))
        ]
    return np.sort(np.concatenate(found), axis=1)
