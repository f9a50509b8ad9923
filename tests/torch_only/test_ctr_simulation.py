"""The simulation of `examples.ctr`: its world, its archive, its experiments."""

from __future__ import annotations

import csv
import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from embark.fit import Encoders, replay
from examples.ctr import catalogue as catalogues
from examples.ctr.__main__ import main
from examples.ctr.catalogue import Catalogue
from examples.ctr.cells import split
from examples.ctr.content import Stored
from examples.ctr.impressions import BANDS, SEGMENTS, click_probability, generate
from examples.ctr.model import save_head
from examples.ctr.simulation.archive import Hits, answers, flushed
from examples.ctr.simulation.experiments import (
    Setup,
    break_even,
    changes,
    cold_start,
    inline,
    landscape,
)
from examples.ctr.simulation.outcome import Ranking, auc
from examples.ctr.simulation.rows import Cell
from examples.ctr.simulation.scores import Scores
from examples.ctr.simulation.world import HOUR_S, make_world
from examples.ctr.training import Schedule, fit, make_arm
from examples.ctr.work import Work

ITEMS = 300


@pytest.fixture(scope="module")
def trained() -> Catalogue:
    return catalogues.generate(ITEMS, days=1, seed=3)


def best_scores(catalogue: Catalogue) -> Scores:
    """What one who knows the truth says, but for the appeal that a missing vector hides."""
    ctr = np.empty((2, 2, SEGMENTS, BANDS, len(catalogue)), np.float32)
    text, image = catalogue.wording.appeal(), catalogue.look.appeal()
    items = np.arange(len(catalogue))
    for place in np.ndindex(ctr.shape[:4]):
        has_text, has_image, user, band = place
        appeal = (text if has_text else text.mean()) + (image if has_image else image.mean())
        seen = replace(catalogue, appeal=np.broadcast_to(appeal, items.shape).astype(np.float32))
        ctr[place] = click_probability(
            seen, np.full(len(items), user), items, np.full(len(items), band)
        )
    return Scores(ctr)


@pytest.fixture(scope="module")
def setup(trained: Catalogue) -> Setup:
    return Setup(
        trained,
        best_scores(trained),
        impressions=20_000,
        hours=4.0,
        text=Encoders(60.0),
        image=Encoders(9.0, batch=8),
        seed=1,
    )


def test_items_are_shown_only_once_they_are_there_and_come_at_the_wished_rate(
    trained: Catalogue,
) -> None:
    world = make_world(trained, 20_000, hours=4, new_share=0.05, seed=1)
    shown = world.impressions
    assert (world.arrival_s[shown.item] <= shown.time_s).all()
    assert int((~world.present).sum()) == 1000
    assert world.present.sum() == ITEMS
    assert shown.time_s[-1] <= 4 * HOUR_S
    # A quarter of the new ones by a quarter of the time.
    assert (world.arrival_s <= HOUR_S).sum() == pytest.approx(ITEMS + 250, abs=60)


def test_the_auc_is_that_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    score, weight = rng.integers(5, size=40) / 5, rng.random(40)
    right = total = 0.0
    for one, other in itertools.product(range(40), range(40)):
        pair = weight[one] * (1 - weight[other])
        total += pair
        right += pair * ((score[one] > score[other]) + 0.5 * (score[one] == score[other]))
    assert auc(score, weight) == pytest.approx(right / total)
    assert auc(np.array([1.0, 2.0]), np.array([0.0, 1.0])) == 1


def test_the_expected_auc_is_the_mean_of_drawn_ones(trained: Catalogue) -> None:
    shown = make_world(trained, 5_000, hours=4, new_share=0, seed=1).impressions
    rng = np.random.default_rng(2)
    drawn = [
        auc(shown.truth, (rng.random(len(shown.truth)) < shown.truth).astype(np.float32))
        for _ in range(60)
    ]
    assert auc(shown.truth, shown.truth) == pytest.approx(
        np.mean(drawn), abs=4 * np.std(drawn) / np.sqrt(60)
    )


def test_the_archive_answers_as_the_replay_of_embark_fit(setup: Setup) -> None:
    trace = setup.world(0.02).trace
    slow = Encoders(0.2)
    got = answers(trace, slow, np.zeros(trace.numbers, np.bool_))
    expected = replay(trace, slow)
    assert int((~got.hit).sum()) == int(expected.bins.oov.sum())
    np.testing.assert_array_equal(got.waits, expected.ready - expected.asked)
    known = answers(trace, slow, np.ones(trace.numbers, np.bool_))
    assert known.hit.all()
    assert known.computed == 0


def test_an_emptied_archive_misses_every_item_once_more(setup: Setup) -> None:
    trace = setup.world(0.0).trace
    instant = Encoders(1e9)
    full = np.ones(trace.numbers, np.bool_)
    moment = HOUR_S
    assert flushed(trace, instant, full, np.array([])).hit.all()
    hit = flushed(trace, instant, full, np.array([moment])).hit
    assert hit[trace.times < moment].all()
    missed = trace.inputs[~hit]
    assert len(missed) == len(set(missed.tolist()))
    assert set(missed.tolist()) == set(trace.inputs[trace.times >= moment].tolist())


def test_a_cold_start_warms_up(setup: Setup) -> None:
    rows = list(cold_start(setup, [0.0, 0.05]))
    for share in (0.0, 0.05):
        mine = [row for row in rows if row.new_share == share]
        assert mine[0].outcome.any_oov > 0.3
        assert mine[-1].outcome.any_oov < 0.1
        assert all(row.none_auc < row.known_auc for row in mine)
        lost = [row.known_auc - row.outcome.auc for row in mine]
        assert lost[0] > 5 * max(lost[-1], 0)
        assert sum(row.outcome.impressions for row in mine) == 20_000
    last = {row.new_share: row.outcome.any_oov for row in rows}
    assert last[0.0] < last[0.05]


def test_slower_encoders_and_more_new_items_eat_the_gain(setup: Setup) -> None:
    cells = list(landscape(setup, [0.003, 0.3], [0.001, 0.1, 10.0]))
    eaten = {(cell.new_share, cell.computed_per_impression): cell.eaten for cell in cells}
    assert eaten[0.003, 10.0] < 0.02
    assert eaten[0.3, 0.001] > 0.5
    for share in (0.003, 0.3):
        assert eaten[share, 0.001] > eaten[share, 10.0]
    for speed in (0.001, 0.1):
        assert eaten[0.3, speed] > eaten[0.003, speed]


def test_the_break_even_lies_between_the_rates_around_it() -> None:
    def cell(share: float, eaten: float) -> Cell:
        return Cell(0, share, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, eaten)

    row = [cell(0.01, 0.1), cell(0.1, 0.3), cell(1.0, 0.7)]
    found = break_even(row, 0.5)[1.0]
    assert found == pytest.approx(10**-0.5)
    assert break_even(row, 0.9) == {1.0: None}
    assert break_even(row, 0.05) == {1.0: 0.01}


def test_generations_cost_calls_and_a_flush_costs_hits(setup: Setup) -> None:
    rows = list(changes(setup, 0.003, [0.01, 1.0]))
    flush = {row.interval_h: row for row in rows if row.policy == "flush"}
    kept = {row.interval_h: row for row in rows if row.policy == "generations"}
    assert kept[1.0].any_oov == kept[0.01].any_oov < flush[1.0].any_oov < flush[0.01].any_oov
    assert kept[1.0].eaten < flush[1.0].eaten < flush[0.01].eaten
    assert kept[0.01].calls_per_impression > kept[1.0].calls_per_impression
    assert kept[1.0].keeps_up
    assert not kept[0.01].keeps_up


def test_inline_leaves_most_candidates_without_content(setup: Setup) -> None:
    got = inline(setup, candidates=50, budget_s=0.2)
    assert (got.text_share, got.image_share) == (12 / 50, 1 / 50)
    assert got.needed_s == pytest.approx(50 / 9)
    assert 0.5 < got.eaten < 1
    assert inline(setup, candidates=1, budget_s=10).eaten == 0


def test_only_the_vectors_that_are_there_are_used(setup: Setup) -> None:
    world = setup.world(0.0)
    ranking = Ranking(world, setup.scores)
    count = len(world.impressions)
    text_only = Hits(np.ones(count, np.bool_), np.zeros(count, np.bool_))
    bounds = ranking.bounds()
    assert bounds.none < ranking.outcome(text_only).auc < bounds.known


def test_all_that_was_simulated_is_written(
    trained: Catalogue, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a head that was trained for a moment, on vectors that say what pictures and texts do."""
    text = np.stack([trained.wording.appeal(), trained.wording.topic], axis=1)
    image = np.stack([trained.look.appeal(), trained.look.hue], axis=1)
    texts, images = (torch.from_numpy(one.astype(np.float32)) for one in (text, image))
    content = Stored(texts, images, torch.arange(ITEMS))
    known = split(generate(trained, 40_000, 1, seed=3), 0.7)
    arm = make_arm(content, known.training, trained, seed=0)
    fit(arm, known.training, known.heldout, trained, Schedule(epochs=3), seed=0)
    work = Work(tmp_path)
    save_head(arm.head, work.head)
    np.savez(work.vectors, text=text.astype(np.float16), image=image.astype(np.float16))
    facts = {"items": ITEMS, "days": 1, "seed": 3, "text_model": "t", "image_model": "i"}
    work.scorer.write_text(json.dumps(facts))

    sizes = ["--impressions", "3000", "--hours", "2", "--repeats", "1"]
    assert main(["simulate", "--work", str(tmp_path), *sizes]) == 0
    said = " ".join(capsys.readouterr().out.split())
    folder = tmp_path / "simulation"
    figures = json.loads((folder / "figures.json").read_text())
    with (folder / "new_items.csv").open(newline="") as file:
        cells = [row for row in csv.DictReader(file) if float(row["computed_per_impression"]) == 1]
    assert len(cells) == 7
    for cell in cells:
        known_auc, none_auc, auc_now = (
            float(cell[name]) for name in ("known_auc", "none_auc", "auc")
        )
        lost = (known_auc - auc_now) / (known_auc - none_auc)
        assert float(cell["eaten"]) == pytest.approx(lost)
        assert known_auc > none_auc
    for name in ("cold_start", "new_items", "changes"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / f"{name}.csv").stat().st_size > 0
    assert f"{figures['inline']['eaten']:.0%} of content's gain lost" in said


def test_without_training_it_says_what_to_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "--work", str(tmp_path)]) == 1
    assert "python -m examples.ctr train" in capsys.readouterr().err
