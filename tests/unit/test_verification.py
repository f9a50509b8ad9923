"""Verification: what it computes, and that engines of each wrong kind are refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embark.errors import ConfigurationError, EmbArkError
from export.verification import Thresholds, cosines, neighbours, verify

INPUTS, DIMENSION = 12, 24
STRICT = Thresholds(min_cosine=0.999, min_neighbours=0.95)

Vectors = npt.NDArray[np.float32]
Run = Callable[[dict[str, npt.NDArray[np.float32]]], Vectors]


@pytest.fixture
def expected() -> Vectors:
    return np.random.default_rng(0).normal(size=(INPUTS, DIMENSION)).astype(np.float32)


@pytest.fixture
def batch(expected: Vectors) -> Callable[[Sequence[int]], dict[str, Vectors]]:
    return lambda positions: {"X": expected[list(positions)]}


def right(tensors: dict[str, Vectors]) -> Vectors:
    return tensors["X"].copy()


def test_a_right_engine_is_described(expected: Vectors, batch: Callable[..., object]) -> None:
    sizes: list[int] = []

    def run(tensors: dict[str, Vectors]) -> Vectors:
        sizes.append(len(tensors["X"]))
        return right(tensors) * np.float32(1 + 1e-6)

    found = verify("m", run, expected, batch, STRICT)  # type: ignore[arg-type]
    assert found.inputs == INPUTS
    assert found.batch_sizes == tuple(sorted(set(sizes)))
    assert {1, 2, 3, 8, INPUTS} <= set(sizes)
    assert found.min_cosine == pytest.approx(1) and found.mean_cosine == pytest.approx(1)
    assert 0 < found.mean_difference < found.max_difference < 1e-5
    assert found.neighbours == 1


def _only_wrong_in_batches(tensors: dict[str, Vectors]) -> Vectors:
    found = right(tensors)
    found[1:] = found[:1]
    return found


def _rows_swapped(tensors: dict[str, Vectors]) -> Vectors:
    return right(tensors)[::-1]


def _depends_on_company(tensors: dict[str, Vectors]) -> Vectors:
    found = right(tensors)
    return found + np.float32(0.2) * found.mean(0) * (len(found) > 1)


def _last_row_lost(tensors: dict[str, Vectors]) -> Vectors:
    found = right(tensors)
    found[7:] = 0
    return found


def _not_finite(tensors: dict[str, Vectors]) -> Vectors:
    found = right(tensors)
    found[-1, 0] = np.nan
    return found


def _another_shape(tensors: dict[str, Vectors]) -> Vectors:
    return right(tensors)[:, 1:]


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (_only_wrong_in_batches, "in a batch of 2, the vector of input 1 "),
        (_rows_swapped, "in a batch of 2, the vector of input 0 "),
        (_depends_on_company, "in a batch of 2"),
        (_last_row_lost, "in a batch of 8, the vector of input 7 has cosine 0.00000"),
        (_not_finite, "in a batch of 1, the vector of input 0 has numbers that are infinite"),
        (_another_shape, f"gave shape (1, {DIMENSION - 1}), not (1, {DIMENSION})"),
    ],
)
def test_a_wrong_engine_is_refused(
    run: Run, said: str, expected: Vectors, batch: Callable[..., object]
) -> None:
    with pytest.raises(EmbArkError) as caught:
        verify("m", run, expected, batch, STRICT)  # type: ignore[arg-type]
    assert caught.value.code == "verification_failed"
    assert said in caught.value.message


def test_copies_of_an_input_in_one_batch_are_tried(
    expected: Vectors, batch: Callable[..., object]
) -> None:
    def run(tensors: dict[str, Vectors]) -> Vectors:
        found = right(tensors)
        _, first = np.unique(found, axis=0, return_index=True)
        copies = np.setdiff1d(np.arange(len(found)), first)
        found[copies] = -found[copies]
        return found

    with pytest.raises(EmbArkError, match="the vector of input 0 has cosine -1"):
        verify("m", run, expected, batch, STRICT)  # type: ignore[arg-type]


def test_vectors_that_differ_between_batches_are_refused(
    expected: Vectors, batch: Callable[..., object]
) -> None:
    # 8 degrees to one side alone, 8 to the other in company: near PyTorch's, far from each other.
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(DIMENSION, DIMENSION)))[0]
    axis = (turn - turn.T) / np.linalg.norm(turn - turn.T, 2)

    def run(tensors: dict[str, Vectors]) -> Vectors:
        found = right(tensors)
        side = 0.15 if len(found) == 1 else -0.15
        return (found + side * found @ axis).astype(np.float32)

    with pytest.raises(EmbArkError, match="with its own when run alone"):
        verify("m", run, expected, batch, Thresholds(min_cosine=0.98))  # type: ignore[arg-type]


def test_ranks_are_required_apart_from_cosines(batch: Callable[..., object]) -> None:
    rng = np.random.default_rng(2)
    # All alike: small errors leave cosines high and turn every rank about.
    alike = (1 + 0.01 * rng.normal(size=(INPUTS, DIMENSION))).astype(np.float32)
    noise = (0.01 * rng.normal(size=(INPUTS, DIMENSION))).astype(np.float32)

    def tensors(positions: Sequence[int]) -> dict[str, Vectors]:
        return {"X": (alike + noise)[list(positions)]}

    lenient = verify("m", right, alike, tensors, Thresholds(min_cosine=0.99))
    assert lenient.neighbours is not None and lenient.neighbours < 0.9
    with pytest.raises(EmbArkError, match="nearest neighbours") as caught:
        verify("m", right, alike, tensors, Thresholds(min_cosine=0.99, min_neighbours=0.95))
    assert caught.value.code == "verification_failed"


def test_batches_stay_within_the_largest(expected: Vectors, batch: Callable[..., object]) -> None:
    def run(tensors: dict[str, Vectors]) -> Vectors:
        assert len(tensors["X"]) <= 4
        return right(tensors)

    found = verify("m", run, expected, batch, STRICT, max_batch_size=4)  # type: ignore[arg-type]
    assert found.batch_sizes == (1, 2, 3, 4)


def test_ranks_of_two_inputs_cannot_be_required(
    expected: Vectors, batch: Callable[..., object]
) -> None:
    with pytest.raises(ConfigurationError, match="give at least 3"):
        verify("m", right, expected[:2], batch, STRICT)  # type: ignore[arg-type]
    found = verify("m", right, expected[:2], batch, Thresholds(0.999))  # type: ignore[arg-type]
    assert found.neighbours is None


def test_cosines_of_known_rows() -> None:
    left = np.array([[1, 0], [1, 1], [0, 0], [0, 0], [3e-30, 0]], np.float32)
    other = np.array([[0, 1], [2, 2], [0, 0], [1, 0], [-1, 0]], np.float32)
    assert cosines(left, other) == pytest.approx([0, 1, 1, 0, -1])


def test_neighbours_of_known_rows() -> None:
    angles = np.radians([0, 10, 30, 60, 100])
    rows = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    # Nearest of each: 1, 0, 1, 2, 3; with the first and the last swapped: 3, 4, 1, 2, 1.
    assert neighbours(rows, rows, 1) == 1
    swapped = rows[[4, 1, 2, 3, 0]]
    assert neighbours(swapped, rows, 1) == pytest.approx(2 / 5)


def test_equally_near_neighbours_count_as_well() -> None:
    rows = np.array([[1, 0], [0, 1], [0, 1], [-1, 0]], np.float32)
    assert neighbours(rows, rows[[0, 2, 1, 3]], 1) == 1


@given(st.integers(3, 30), st.integers(0, 2**32 - 1))
def test_neighbours_are_the_same_for_turned_and_scaled_vectors(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, 8)).astype(np.float32)
    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    turned = (rows @ turn * rng.uniform(0.5, 2, (count, 1))).astype(np.float32)
    assert neighbours(turned, rows) == 1


@pytest.mark.parametrize("k", [0, 3])
def test_a_senseless_number_of_neighbours_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        neighbours(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32), k)
