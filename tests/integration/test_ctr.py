"""The CTR example trained whole, at its smallest size, on a platform of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import log_loss, roc_auc_score

from examples.ctr.presets import PRESETS
from examples.ctr.scorer import Scorer
from examples.ctr.work import Work

pytestmark = pytest.mark.stack

FEW_ROUNDINGS = 4 * 2.0**-11
"""Vectors are stored as float16, of 11 significant bits."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    folder = tmp_path_factory.mktemp("ctr")
    ended = subprocess.run(
        [sys.executable, "-m", "examples.ctr", "train", "--preset", "tiny", "--work", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, (ended.stdout, ended.stderr)
    for command in ("embark export", "embark up", "embark models oov ctr_text"):
        assert f"$ {command}" in ended.stdout
    return Work(folder)


@pytest.fixture(scope="module")
def report(work: Work) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(work.report.read_bytes())
    return read


@pytest.mark.parametrize("arm", ["no content", "no content, item table", "embark"])
def test_every_figure_can_be_computed_again(work: Work, report: dict[str, Any], arm: str) -> None:
    with np.load(work.heldout) as heldout:
        total, clicks = heldout["impressions"], heldout["clicks"]
        ctr, known = heldout[f"{arm}/0/none/ctr"], heldout["known"]
    for part, chosen in (("known items", known), ("new items", ~known)):
        (said,) = report["heldout"][arm][part]["seeds"]
        outcome = np.concatenate([np.ones(len(ctr)), np.zeros(len(ctr))])
        weight = np.concatenate([clicks * chosen, (total - clicks) * chosen])
        twice = np.tile(ctr.astype(np.float64), 2)
        assert said["auc"] == pytest.approx(roc_auc_score(outcome, twice, sample_weight=weight))
        assert said["log_loss"] == pytest.approx(log_loss(outcome, twice, sample_weight=weight))
        expected = (ctr.astype(np.float64) * total)[chosen].sum()
        assert said["calibration"] == pytest.approx(expected / clicks[chosen].sum())


def test_the_archive_gives_the_towers_own_vectors(report: dict[str, Any]) -> None:
    inline = report["inline"]
    assert inline["text_lowest_cosine"] > 1 - FEW_ROUNDINGS**2
    assert inline["image_lowest_cosine"] > 1 - FEW_ROUNDINGS**2
    # Of a text tower's vectors, no number exceeds 1.
    assert inline["text_largest_difference"] < FEW_ROUNDINGS
    assert inline["largest_difference_of_ctr"] < FEW_ROUNDINGS


def test_the_service_answers_with_the_learned_oov_vectors(
    work: Work, report: dict[str, Any]
) -> None:
    assert set(report["oov"]["answered_after_s"]) == {"ctr_text", "inception_v3"}
    scorer = Scorer.load(work.folder)
    assert np.load(work.oov("ctr_text")).shape == (scorer.text_dimension,)
    assert np.abs(np.load(work.oov("inception_v3"))).max() > 0


def test_the_trained_model_scores_the_catalogue(work: Work) -> None:
    scorer = Scorer.load(work.folder)
    with np.load(work.vectors) as vectors:
        text, image = vectors["text"], vectors["image"]
    items = np.arange(PRESETS["tiny"].items)
    assert text.shape == (len(items), scorer.text_dimension)
    assert image.shape == (len(items), scorer.image_dimension)
    known, unknown = np.ones(len(items), np.bool_), np.zeros(len(items), np.bool_)
    scores = scorer.score(2, items, text, known, image, known)
    assert ((scores > 0) & (scores < 1)).all()
    blind = scorer.score(2, items, text, unknown, image, unknown)
    assert not np.allclose(scores, blind)
    oov = scorer.score(
        2,
        items,
        np.tile(np.load(work.oov("ctr_text")), (len(items), 1)),
        known,
        np.tile(np.load(work.oov("inception_v3")), (len(items), 1)),
        known,
    )
    assert np.allclose(blind, oov, atol=1e-5)


@pytest.mark.parametrize("name", ["auc", "calibration", "distributions", "learning"])
def test_plots_are_written(work: Work, name: str) -> None:
    with Image.open(work.plot(name)) as plot:
        assert len(np.unique(np.asarray(plot.convert("L")))) > 10
