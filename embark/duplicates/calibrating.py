"""Fits the rules to labelled pairs, for a precision that is asked for. Pure.

Logistic regression by Newton's method, held near the default weights: a few labels move them
little, many move them far. What is reported is measured on pairs that took no part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from embark.duplicates.deciding import DEFAULT_RULES, Basis, Rule, Rules, bases_of, score
from embark.errors import BadRequest

LEAST_OF_EACH = 10
"""Labelled duplicates, and labelled others, that a basis needs to be calibrated."""

_FOLDS = 5
_STEPS = 50
_PULL = 1.0
"""How strongly weights are held near the default ones. Labelled pairs are few and mostly hard ones;
held less, weights forget what tells the many easy pairs apart (docs/duplicates.md)."""

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Calibrated:
    """One basis's rule and what it is worth.

    Attributes:
        rule: fitted to all labelled pairs of this basis.
        duplicates, others: how many of them there were.
        precision, recall: on pairs held back, with cutoffs chosen without them; precision is NaN
            if no pair was taken for a duplicate.
    """

    rule: Rule
    duplicates: int
    others: int
    precision: float
    recall: float


def calibrate(features: Floats, labels: Flags, precision: float) -> dict[Basis, Calibrated]:
    """Return the rules of those bases that have enough labelled pairs.

    Args:
        features: shape (pairs, 4).
        labels: which pairs are duplicates.
        precision: share of true ones that is wanted among what is taken for duplicates.

    Raises:
        BadRequest: no basis has enough.
    """
    found = {
        basis: _calibrate(features[chosen][:, basis.columns], labels[chosen], basis, precision)
        for basis, chosen in bases_of(features).items()
        if min(labels[chosen].sum(), (~labels[chosen]).sum()) >= LEAST_OF_EACH
    }
    if not found:
        raise BadRequest(
            f"{int(labels.sum())} labelled duplicates and {int((~labels).sum())} labelled others"
            f" are too few: {LEAST_OF_EACH} of each are needed among the pairs that both have a"
            " text, or both a picture",
            code="too_few_labels",
        )
    return found


def rules_of(calibrated: Mapping[Basis, Calibrated]) -> Rules:
    """Return all rules: the calibrated ones, and the default ones of the other bases."""
    return {**DEFAULT_RULES, **{basis: one.rule for basis, one in calibrated.items()}}


def _calibrate(columns: Floats, labels: Flags, basis: Basis, precision: float) -> Calibrated:
    prior = DEFAULT_RULES[basis]
    folds = _folds(labels)
    held_back = np.empty(len(labels))
    for fold in range(_FOLDS):
        rule = fit(columns[folds != fold], labels[folds != fold], prior)
        held_back[folds == fold] = score(columns[folds == fold], rule)
    taken = np.zeros(len(labels), np.bool_)
    for fold in range(_FOLDS):
        cutoff = cutoff_for(held_back[folds != fold], labels[folds != fold], precision)
        taken |= (folds == fold) & (held_back >= cutoff)
    fitted = fit(columns, labels, prior)
    right = float((taken & labels).sum())
    return Calibrated(
        Rule(fitted.weights, fitted.bias, cutoff_for(held_back, labels, precision)),
        int(labels.sum()),
        int((~labels).sum()),
        right / taken.sum() if taken.any() else float("nan"),
        right / labels.sum(),
    )


def _folds(labels: Flags) -> npt.NDArray[np.int64]:
    """Return the fold of each pair: each fold has its share of duplicates, whatever the order."""
    folds = np.empty(len(labels), np.int64)
    rng: Final = np.random.default_rng(0)
    for which in (labels, ~labels):
        folds[which] = rng.permutation(np.arange(which.sum()) % _FOLDS)
    return folds


def fit(columns: Floats, labels: Flags, prior: Rule, pull: float = _PULL) -> Rule:
    """Return the rule of the greatest likelihood under a normal prior around another rule.

    Args:
        columns: a basis's features, shape (pairs, columns).
        labels: which pairs are duplicates.
        prior: where the weights are held near; its cutoff is kept.
        pull: how strongly, an inverse variance.
    """
    design = np.column_stack([columns, np.ones(len(columns))])
    around = np.array([*prior.weights, prior.bias])
    weights = around.copy()
    for _ in range(_STEPS):
        logit = np.clip(design @ weights, -500, 500)
        expected = 1 / (1 + np.exp(-logit))
        gradient = design.T @ (expected - labels) + pull * (weights - around)
        curvature = (design * (expected * (1 - expected))[:, None]).T @ design
        step = np.linalg.solve(curvature + pull * np.eye(len(weights)), gradient)
        # Newton's steps may overshoot where the curve is flat; short ones always descend here.
        weights -= step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    return Rule(tuple(weights[:-1].tolist()), float(weights[-1]), prior.cutoff)


def cutoff_for(found: Floats, labels: Flags, precision: float) -> float:
    """Return the least score from which all pairs together are as precise as is wanted.

    If none is, the greatest score of all.
    """
    order = np.argsort(-found, kind="stable")
    ranked = found[order]
    shares = np.cumsum(labels[order]) / np.arange(1, len(order) + 1)
    # Equal scores stand or fall together.
    ends = np.append(ranked[1:] < ranked[:-1], True)
    good = np.flatnonzero(ends & (shares >= precision))
    return float(ranked[good[-1]] if len(good) else ranked[0])
