"""Near-duplicates over a catalogue: the steps after the vectors have come."""

from __future__ import annotations

import argparse

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embark.cli import duplicates as command
from embark.duplicates.calibrating import LEAST_OF_EACH, calibrate, cutoff_for, rules_of
from embark.duplicates.candidates import nearest_pairs
from embark.duplicates.deciding import DEFAULT_RULES, Basis, Rule, accepted, scores
from embark.duplicates.finding import Finder, Group, Side
from embark.duplicates.grouping import Star, stars
from embark.duplicates.items import Item
from embark.duplicates.space import Space
from embark.duplicates.wording import contrast, is_typo, wording
from embark.errors import BadRequest

NONE = np.empty((0, 32), np.float32)


def quiet(stage: str, done: int, total: int) -> None:
    pass


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("iPhone 13 red 128 GB", "iPhone 13 red 256 GB"),
        ("T-Shirt, rot, M", "T-Shirt, M, blau"),
        ("Lamp with matte shade", "Lamp with glossy shade"),
        ("kettle 1.5 l", "kettle 1.7 l"),
        ("红色手机", "蓝色手机"),
    ],
)
def test_variants_contradict_each_other(one: str, other: str) -> None:
    assert contrast(wording(one), wording(other)).contradiction
    assert contrast(wording(other), wording(one)).contradiction


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("iPhone 13 red 128 GB", "IPHONE 13, RED, 128GB"),
        ("iPhone 13 red 128 GB", "iPhnoe 13 red 128 GB"),
        ("kettle 1.50 l", "kettle 1,5 l"),
        ("battery 10.000 mAh", "battery 10,000 mAh"),
        ("iPhone 13 red 128 GB", "Apple iPhone 13 with 128 GB in red"),
        ("", "lamp"),
    ],
)
def test_the_same_in_other_letters_does_not(one: str, other: str) -> None:
    assert not contrast(wording(one), wording(other)).contradiction


def test_words_count_where_both_have_others() -> None:
    found = contrast(wording("oak table for six people"), wording("table of oak, seats six"))
    assert found.words == pytest.approx(2 / 5)
    assert contrast(wording("oak table"), wording("oak table for the garden")).words == 0


@pytest.mark.parametrize(
    ("one", "other", "typo"),
    [("lamp", "lmap", True), ("lamp", "lamps", True), ("lamp", "lump", True), ("red", "rad", False),
     ("backpacks", "bakcpack", True), ("lamps", "palms", False), ("lamp", "chair", False)],
)  # fmt: skip
def test_a_typo_is_one_slip_in_a_word(one: str, other: str, typo: bool) -> None:
    assert is_typo(one, other) is typo


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_nearest_pairs_are_those_of_all_products(count: int, nearest: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    products = vectors @ vectors.T
    np.fill_diagonal(products, -np.inf)
    wanted = {
        (min(row, int(other)), max(row, int(other)))
        for row in range(count)
        for other in np.argsort(-products[row], kind="stable")[:nearest]
        if products[row, other] >= 0.1
    }
    found = nearest_pairs(vectors, nearest, 0.1, lambda done, total: None)
    assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) == wanted


def test_a_family_of_near_vectors_keeps_few_pairs_of_each() -> None:
    rng = np.random.default_rng(0)
    vectors = 1 + 0.01 * rng.normal(size=(5000, 16)).astype(np.float32)
    vectors[4000] = vectors[17]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = nearest_pairs(vectors, 5, 0.0, lambda done, total: None)
    assert len(found) <= 5 * 5000
    assert (17, 4000) in set(zip(found.first.tolist(), found.second.tolist(), strict=True))


def test_equal_vectors_of_more_inputs_than_are_kept_stay_connected() -> None:
    vectors = np.zeros((50, 4), np.float32)
    vectors[:, 0] = 1
    found = nearest_pairs(vectors, 3, 0.5, lambda done, total: None)
    assert set(found.first.tolist()) | set(found.second.tolist()) == set(range(50))


def test_a_common_direction_is_taken_away() -> None:
    rng = np.random.default_rng(1)
    vectors = 10 + rng.normal(size=(300, 32)).astype(np.float32)
    raw = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert (raw[:10] @ raw[10:20].T).min() > 0.9
    space = Space(vectors, np.arange(300), NONE)
    others = space.cosines(np.arange(10), np.arange(10, 20))
    assert np.abs(others).max() < 0.7
    assert space.cosines(np.array([3]), np.array([3]))[0] == pytest.approx(1, abs=1e-5)


def test_three_copies_are_alike_where_anchors_say_what_is_different() -> None:
    rng = np.random.default_rng(2)
    anchors = 10 + rng.normal(size=(96, 32)).astype(np.float32)
    one = 10 + rng.normal(size=32)
    copies = (one + 0.05 * rng.normal(size=(3, 32))).astype(np.float32)
    space = Space(copies, np.arange(3), anchors)
    assert space.cosines(np.array([0, 0, 1]), np.array([1, 2, 2])).min() > 0.9


def test_a_chain_is_not_one_group() -> None:
    """Of 0 to 4, each is a duplicate of the next and of no other."""
    first, second = np.array([0, 1, 2, 3]), np.array([1, 2, 3, 4])
    found = stars(first, second, np.ones(4), lambda node, others: np.abs(others - node) < 2)
    assert found == [Star(1, (0, 2)), Star(3, (4,))]


def test_members_beyond_the_nearest_are_judged_by_themselves() -> None:
    first, second = np.array([0, 1]), np.array([1, 2])
    pairs = first, second, np.ones(2)
    assert stars(*pairs, lambda node, others: np.ones(len(others), np.bool_)) == [Star(1, (0, 2))]
    ends = np.array([0, 0, 1]), np.array([1, 2, 3]), np.array([1.0, 1.0, 0.9])
    (only,) = stars(*ends, lambda node, others: others == 3)
    assert only == Star(0, (1, 2, 3))


def fake(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labelled pairs whose cosines tell half, and whose wording tells the rest."""
    rng = np.random.default_rng(seed)
    labels = rng.random(count) < 0.5
    features = np.zeros((count, 4))
    features[:, 0] = np.where(labels, 0.8, 0.6) + 0.15 * rng.normal(size=count)
    features[:, 1] = np.where(labels, 0.4, 0.3) + 0.1 * rng.normal(size=count)
    features[:, 2] = ~labels & (rng.random(count) < 0.6)
    return features, labels


def test_calibration_keeps_the_precision_that_it_aims_at() -> None:
    features, labels = fake(2000, 0)
    found = calibrate(features, labels, 0.95)[Basis.BOTH]
    assert found.precision == pytest.approx(0.95, abs=0.02)
    fresh, truth = fake(4000, 1)
    rules = rules_of({Basis.BOTH: found})
    taken = accepted(fresh, scores(fresh, rules), rules)
    assert truth[taken].mean() == pytest.approx(0.95, abs=0.02)
    assert taken[truth].mean() == pytest.approx(found.recall, abs=0.05)
    assert rules[Basis.IMAGE] == DEFAULT_RULES[Basis.IMAGE]


def test_too_few_labels_are_refused() -> None:
    features, labels = fake(100, 0)
    few = np.flatnonzero(labels)[: LEAST_OF_EACH - 1]
    some = np.concatenate([few, np.flatnonzero(~labels)])
    with pytest.raises(BadRequest, match=f"{LEAST_OF_EACH} of each are needed"):
        calibrate(features[some], labels[some], 0.95)


def test_equal_scores_stand_or_fall_together() -> None:
    found, labels = np.array([0.9, 0.5, 0.5, 0.5]), np.array([True, True, False, False])
    assert cutoff_for(found, labels, 0.6) == 0.9
    assert cutoff_for(found, labels, 0.5) == 0.5


TEXTS = [
    "Nordlicht lamp, red, 40 W", "NORDLICHT LAMP, RED, 40 W", "Nordlicht lamp, red, 60 W",
    "Kestrel chair of oak", "Kestrel chair of oak", "Vireo mug", "Vireo mug", "",
]  # fmt: skip


def finder(*, pictures: bool = True) -> Finder:
    """A catalogue: 0 and 1 are one lamp, 2 another with the same picture; 3 and 4 share all; 5 and
    6 only the text; 7 is 5's picture without a text."""
    rng = np.random.default_rng(3)
    anchors = rng.normal(size=(90, 32)).astype(np.float32)
    base = rng.normal(size=(6, 32)).astype(np.float32)
    texts = base[[0, 0, 0, 1, 2]] + 0.05 * rng.normal(size=(5, 32)).astype(np.float32)
    images = rng.normal(size=(6, 32)).astype(np.float32)[[0, 0, 1, 2, 3]]
    images += 0.05 * rng.normal(size=(5, 32)).astype(np.float32)
    items = [Item(str(number), text, "x") for number, text in enumerate(TEXTS)]
    text_rows = np.array([0, 1, 2, 3, 3, 4, 4, -1])
    image_rows = np.array([0, 1, 0, 2, 2, 3, 4, 3])
    image = Side(Space(images, np.arange(5), anchors), image_rows)
    return Finder(
        items, Side(Space(texts, np.arange(5), anchors), text_rows), image if pictures else None
    )


def ids(groups: list[Group]) -> list[list[int]]:
    return sorted(sorted(member.item for member in group.members) for group in groups)


def test_pictures_and_texts_decide_together() -> None:
    found = finder().groups(DEFAULT_RULES, quiet)
    assert ids(found) == [[0, 1], [3, 4], [5, 7]]
    equal = next(group for group in found if group.members[0].item == 3)
    assert equal.members[1].text_cosine == pytest.approx(1, abs=1e-4)
    alone = next(group for group in found if group.members[0].item == 5)
    assert alone.members[1].text_cosine is None
    assert found == finder().groups(DEFAULT_RULES, quiet)


def test_texts_alone_group_equal_texts() -> None:
    assert ids(finder(pictures=False).groups(DEFAULT_RULES, quiet)) == [[0, 1], [3, 4], [5, 6]]


def test_a_rule_may_reward_what_the_default_ones_punish() -> None:
    generous = {basis: Rule((0.0,) * len(basis.columns), 5.0, 0.5) for basis in Basis}
    kind = {**generous, Basis.BOTH: Rule((0.0, 0.0, 5.0, 0.0), -1.0, 0.5)}
    assert [0, 1, 2] in ids(finder().groups(kind, quiet))


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return parser.parse_args(["duplicates", *arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--report", "r.html", "a text"), "--report needs --items"),
        (("--items", "i.csv", "a text"), "TEXT is for the nearest items"),
        (("--items", "i.csv", "--image", "a.png"), "--image is for the nearest items"),
        (("--items", "i.csv", "--precision", "0.9"), "--precision needs --pairs"),
        (("--items", "i.csv", "--out", "groups.xlsx"), "must end with .csv or .json"),
        (("--items", "i.csv", "--out", "/no/such/folder/g.csv"), "there is no folder"),
        (("--items", "i.csv", "--pairs", "p.csv", "--precision", "95"), "between 0 and 1"),
    ],
)
def test_wrong_usage_is_explained(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        command.run(parsed(*arguments))
