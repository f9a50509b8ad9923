"""Whether a compiled encoder agrees with PyTorch: the numbers, and the refusal.

Engines have been right for one input and wrong for several (TensorRT#3292), so every input is run
in batches of several sizes, in another order, and beside copies of itself. Not for running graphs:
`verify` is given a function that does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from embark.errors import ConfigurationError, EmbArkError

Vectors = npt.NDArray[np.float32]
Tensors = dict[str, npt.NDArray[Any]]

MOST_NEIGHBOURS = 10

_BATCH_SIZES = (1, 2, 3, 8, 16, 32, 64, 128, 256)
# Two cosines that differ by less are equal: float32 says no more.
_TIE = 1e-6


@dataclass(frozen=True)
class Thresholds:
    """How near to PyTorch a compiled encoder must be.

    Attributes:
        min_cosine: lowest allowed cosine of a vector with PyTorch's, and of two vectors of one
            input from different batches.
        min_neighbours: lowest allowed `neighbours`; None asks for none.
    """

    min_cosine: float
    min_neighbours: float | None = None


@dataclass(frozen=True)
class Verification:
    """How near to PyTorch a compiled encoder was.

    Attributes:
        inputs: how many inputs were compared.
        batch_sizes: sizes of the batches they were run in.
        min_cosine, mean_cosine: of vectors with PyTorch's.
        max_difference, mean_difference: of one number, absolute.
        min_repeat_cosine: of a vector with that of the same input run alone.
        neighbours: see `neighbours`; None with fewer than three inputs.
    """

    inputs: int
    batch_sizes: tuple[int, ...]
    min_cosine: float
    mean_cosine: float
    max_difference: float
    mean_difference: float
    min_repeat_cosine: float
    neighbours: float | None


@dataclass(frozen=True)
class _Run:
    """The vectors of one batch, and the inputs that they belong to."""

    positions: npt.NDArray[np.intp]
    vectors: Vectors


def verify(
    name: str,
    run: Callable[[Tensors], Vectors],
    expected: Vectors,
    batch: Callable[[Sequence[int]], Tensors],
    thresholds: Thresholds,
    *,
    max_batch_size: int | None = None,
) -> Verification:
    """Compare a compiled encoder with PyTorch's vectors.

    Args:
        name: of the model, for messages.
        run: the compiled encoder, tensors of a batch of n to float32 vectors (n, d).
        expected: PyTorch's vectors of the inputs one by one, float32 (inputs, d).
        batch: tensors of a batch of inputs, given by position; a position may come twice.
        thresholds: what is required.
        max_batch_size: largest batch that `run` takes; None is any.

    Raises:
        EmbArkError: `verification_failed`; it says which input, in which batch, by how much.
        ConfigurationError: there are too few inputs for what is required.
    """
    if thresholds.min_neighbours is not None and len(expected) < 3:
        raise ConfigurationError(
            f"{name}: {len(expected)} inputs have no neighbours to compare; give at least 3"
            " samples(), better 16"
        )
    largest = min(len(expected), max_batch_size or len(expected))
    runs = []
    for positions in _batches(len(expected), largest):
        vectors = np.asarray(run(batch(positions)), np.float32)
        _check_form(name, positions, vectors, expected.shape[1])
        runs.append(_Run(np.asarray(positions, np.intp), vectors))
        _check_cosines(name, runs[-1], expected, thresholds, "PyTorch's")
    alone = np.concatenate([one.vectors for one in runs[: len(expected)]])
    for one in runs:
        _check_cosines(name, one, alone, thresholds, "its own when run alone")
    verification = _summary(runs, expected, alone)
    agreement, required = verification.neighbours, thresholds.min_neighbours
    if required is not None and (agreement is None or agreement < required):
        raise _failed(
            f"{name}: of the nearest neighbours of an input, {agreement:.3f} are PyTorch's;"
            f" {required} are required"
        )
    return verification


def cosines(found: Vectors, expected: Vectors) -> npt.NDArray[np.float64]:
    """Return the cosine of each row of `found` with the same row of `expected`, (n,).

    Two rows of zeros have cosine 1, a row of zeros and another have 0.
    """
    left, right = _normalised(found), _normalised(expected)
    both_zero = ~left.any(1) & ~right.any(1)
    return np.where(both_zero, 1.0, np.einsum("ij,ij->i", left, right))


def neighbours(found: Vectors, expected: Vectors, k: int | None = None) -> float:
    """Return how many of the k nearest neighbours by cosine are the same, 0 to 1.

    For each row: which share of its k nearest rows in `found`, itself left out, is among the k
    nearest in `expected`; the mean over rows. This is recall at k as ANN-Benchmarks defines it
    (Aumüller et al., 2020): a row as near as the k-th counts as well, here within 1e-6.

    Args:
        found: vectors of n inputs, (n, d).
        expected: the vectors to compare with, of the same inputs.
        k: 1 to n - 1; None is 10, or half of the others if they are fewer than 20.
    """
    count = len(expected)
    if k is None:
        k = max(1, min(MOST_NEIGHBOURS, (count - 1) // 2))
    if not 1 <= k < count:
        raise ValueError(f"of {count} inputs, {k} neighbours cannot be compared")
    truth, seen = _similarities(expected), _similarities(found)
    nearest = np.argpartition(-seen, k - 1, axis=1)[:, :k]
    kth = -np.partition(-truth, k - 1, axis=1)[:, k - 1 : k]
    return float((np.take_along_axis(truth, nearest, 1) >= kth - _TIE).mean())


def _batches(count: int, largest: int) -> Iterator[list[int]]:
    """Yield positions: each input alone first, then larger batches, turned round, and copies."""
    everything = list(range(count))
    for size in (*(size for size in _BATCH_SIZES if size < largest), largest):
        yield from (everything[start : start + size] for start in range(0, count, size))
    if largest > 1:
        yield everything[::-1][:largest]
        for position in {0, count - 1}:
            # The copies stand apart, so that a mix-up of rows cannot hide.
            others = chain.from_iterable(zip(repeat(position), everything, strict=False))
            yield list(others)[:largest]


def _check_form(name: str, positions: Sequence[int], vectors: Vectors, dimension: int) -> None:
    wanted = (len(positions), dimension)
    if vectors.shape != wanted:
        raise _failed(
            f"{name}: a batch of {len(positions)} gave shape {vectors.shape}, not {wanted}"
        )
    if not np.isfinite(vectors).all():
        row = int(np.argmin(np.isfinite(vectors).all(1)))
        raise _failed(
            f"{name}: in a batch of {len(positions)}, the vector of input {positions[row]} has"
            " numbers that are infinite or none at all"
        )


def _check_cosines(
    name: str, run: _Run, other: Vectors, thresholds: Thresholds, whose: str
) -> None:
    found = cosines(run.vectors, other[run.positions])
    row = int(found.argmin())
    if found[row] < thresholds.min_cosine:
        raise _failed(
            f"{name}: in a batch of {len(run.positions)}, the vector of input"
            f" {run.positions[row]} has cosine {found[row]:.5f} with {whose};"
            f" {thresholds.min_cosine} is required"
        )


def _summary(runs: Sequence[_Run], expected: Vectors, alone: Vectors) -> Verification:
    positions = np.concatenate([one.positions for one in runs])
    vectors = np.concatenate([one.vectors for one in runs])
    found = cosines(vectors, expected[positions])
    differences = np.abs(vectors - expected[positions])
    return Verification(
        inputs=len(expected),
        batch_sizes=tuple(sorted({len(one.positions) for one in runs})),
        min_cosine=float(found.min()),
        mean_cosine=float(found.mean()),
        max_difference=float(differences.max()),
        mean_difference=float(differences.mean()),
        min_repeat_cosine=float(cosines(vectors, alone[positions]).min()),
        neighbours=neighbours(alone, expected) if len(expected) > 2 else None,
    )


def _failed(message: str) -> EmbArkError:
    return EmbArkError(
        f"{message}. Nothing is published. If single inputs agree and batches do not, a vector"
        " depends on its batch, on padding or on chance: mend the module. Else compile it with"
        " another precision, or state other thresholds",
        code="verification_failed",
    )


def _normalised(vectors: Vectors) -> npt.NDArray[np.float64]:
    exact = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    made = np.zeros_like(exact)
    np.divide(exact, lengths, out=made, where=lengths > 0)
    return made


def _similarities(vectors: Vectors) -> npt.NDArray[np.float64]:
    rows = _normalised(vectors)
    similar = np.asarray(rows @ rows.T)
    np.fill_diagonal(similar, -np.inf)
    return similar
