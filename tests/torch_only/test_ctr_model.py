"""The CTR example's network: the mixture density layer, the head, training, what a scorer reads."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from embark.errors import ConfigurationError
from examples.ctr import catalogue as catalogues
from examples.ctr import cells, impressions, metrics, towers
from examples.ctr.content import Nothing, Stored, TrainedText
from examples.ctr.mixture import Mixture, MixtureLayer
from examples.ctr.model import Axes, Head, HeadShape, load_head, save_head
from examples.ctr.predicting import Arm, Missing, predict
from examples.ctr.scorer import Scorer
from examples.ctr.tower import TextTower
from examples.ctr.training import Schedule, fit, make_arm
from examples.ctr.work import Work

SEED, ITEMS, COUNT, DAYS = 1, 240, 60_000, 6.0
SIGMAS = st.floats(0.05, 1.2)
LOGITS = st.floats(-5.0, 1.0)


def mixture(means: list[float], sigmas: list[float]) -> Mixture:
    weight = torch.log_softmax(torch.linspace(0, 1, len(means), dtype=torch.float64), dim=0)
    return Mixture(
        weight.unsqueeze(0),
        torch.tensor([means], dtype=torch.float64),
        torch.tensor([sigmas], dtype=torch.float64),
    )


def counts(*pairs: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    clicks, total = zip(*pairs, strict=True)
    return torch.tensor(clicks, dtype=torch.float64), torch.tensor(total, dtype=torch.float64)


def repeated(one: Mixture, times: int) -> Mixture:
    return Mixture(*(part.expand(times, -1) for part in vars(one).values()))


@given(st.lists(st.tuples(LOGITS, SIGMAS), min_size=1, max_size=4), st.integers(1, 12))
@settings(deadline=None, max_examples=30)
def test_probabilities_of_all_counts_add_up_to_one(
    drawn: list[tuple[float, float]], total: int
) -> None:
    one = mixture([mean for mean, _ in drawn], [sigma for _, sigma in drawn])
    every = counts(*((clicks, total) for clicks in range(total + 1)))
    likelihood = repeated(one, total + 1).log_likelihood(*every)
    assert float(likelihood.exp().sum()) == pytest.approx(1.0, abs=1e-9)


@given(LOGITS, st.integers(1, 50), st.data())
@settings(deadline=None, max_examples=30)
def test_one_narrow_component_is_the_binomial(mean: float, total: int, data: st.DataObject) -> None:
    clicks = data.draw(st.integers(0, total))
    found = mixture([mean], [1e-6]).log_likelihood(*counts((clicks, total)))
    logit = torch.tensor(mean, dtype=torch.float64)
    expected = torch.distributions.Binomial(total, logits=logit).log_prob(
        torch.tensor(float(clicks), dtype=torch.float64)
    )
    assert float(found) == pytest.approx(float(expected), abs=1e-6)


@given(st.lists(st.tuples(LOGITS, SIGMAS), min_size=1, max_size=3), st.integers(1, 150), st.data())
@settings(deadline=None, max_examples=30)
def test_the_sum_over_nodes_is_the_integral(
    drawn: list[tuple[float, float]], total: int, data: st.DataObject
) -> None:
    clicks = data.draw(st.integers(0, total // 3))
    one = mixture([mean for mean, _ in drawn], [sigma for _, sigma in drawn])
    found = one.log_likelihood(*counts((clicks, total)))
    logit = torch.linspace(-16, 12, 40_001, dtype=torch.float64)
    normal = torch.distributions.Normal(one.mean.T, one.sigma.T)
    density = (one.log_weight.T + normal.log_prob(logit)).exp().sum(dim=0)
    binomial = torch.distributions.Binomial(total, logits=logit).log_prob(
        torch.tensor(float(clicks), dtype=torch.float64)
    )
    # Its likelihood, not its logarithm: far from every node both are next to nothing.
    integral = float(torch.trapezoid(density * binomial.exp(), logit))
    assert float(found.exp()) == pytest.approx(integral, abs=2e-3)


def test_the_likelihood_has_right_gradients() -> None:
    torch.manual_seed(0)
    weight, mean, width = (torch.randn(3, 2, dtype=torch.float64) for _ in range(3))
    clicks, total = counts((0, 3), (2, 5), (7, 40))

    def loss(weight: torch.Tensor, mean: torch.Tensor, width: torch.Tensor) -> torch.Tensor:
        made = Mixture(torch.log_softmax(weight, dim=1), mean, width.exp())
        return made.log_likelihood(clicks, total)

    inputs = tuple(one.requires_grad_() for one in (weight, mean, width))
    assert torch.autograd.gradcheck(loss, inputs)


@given(st.lists(st.tuples(LOGITS, SIGMAS), min_size=1, max_size=3))
@settings(deadline=None, max_examples=30)
def test_expectation_cdf_and_quantiles_are_of_one_distribution(
    drawn: list[tuple[float, float]],
) -> None:
    one = mixture([mean for mean, _ in drawn], [sigma for _, sigma in drawn])
    levels = torch.linspace(0.0005, 0.9995, 1000, dtype=torch.float64)
    quantiles = torch.cat([one.quantile(float(level)) for level in levels[::25]])
    assert torch.allclose(repeated(one, 40).cdf(quantiles), levels[::25], atol=1e-6)
    (rate,) = one.log_likelihood(*counts((1, 1))).exp()
    assert float(one.expected()) == pytest.approx(float(rate), abs=1e-9)


def test_a_mixture_layer_learns_the_spread_that_a_mean_hides() -> None:
    rng = np.random.default_rng(0)
    total = 60
    ctr = np.where(rng.random(1000) < 0.5, 0.05, 0.3)
    clicks = torch.from_numpy(rng.binomial(total, ctr)).float()
    torch.manual_seed(0)
    layer = MixtureLayer(1, base=-2.0)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.05)
    features = torch.ones(len(clicks), 1)
    for _ in range(100):
        loss = -layer(features).log_likelihood(clicks, torch.full_like(clicks, total)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        learned = layer(features[:1])
    assert float(learned.expected()) == pytest.approx(ctr.mean(), abs=0.01)
    between = learned.cdf(torch.tensor([0.2])) - learned.cdf(torch.tensor([0.1]))
    assert float(between) < 0.05
    assert float(learned.cdf(torch.tensor([0.15]))) == pytest.approx(0.5, abs=0.05)


def test_axes_have_spread_one_on_known_vectors_and_none_where_these_hardly_vary() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(400, 3) @ torch.tensor(
        [[100.0, 0, 0, 1], [0, 5.0, 0, 1], [0, 0, 1e-3, 0]]
    )
    axes = Axes(4)
    axes.fit(vectors + 7)
    found = axes(vectors + 7)
    assert torch.allclose(found.mean(dim=0), torch.zeros(4), atol=1e-4)
    assert torch.allclose(found.std(dim=0), torch.tensor([1.0, 1.0, 0.0, 0.0]), atol=1e-3)


@pytest.fixture(scope="module")
def catalogue() -> catalogues.Catalogue:
    return catalogues.generate(ITEMS, DAYS, SEED)


@pytest.fixture(scope="module")
def split(catalogue: catalogues.Catalogue) -> cells.Split:
    return cells.split(impressions.generate(catalogue, COUNT, DAYS, SEED), 0.7)


def attributes(catalogue: catalogues.Catalogue) -> Stored:
    """What texts and pictures say, as vectors that any tower would envy."""
    wording, look = catalogue.wording, catalogue.look
    text = torch.zeros(ITEMS, 10)
    text[torch.arange(ITEMS), torch.from_numpy(wording.topic).long()] = 1
    text[:, 8] = torch.from_numpy(wording.promise)
    text[:, 9] = torch.from_numpy(wording.urgent)
    image = np.stack([look.appeal(), look.warmth()], axis=1).astype(np.float32)
    # Far from the origin, as the vectors of a network without trained weights are.
    return Stored(text, torch.from_numpy(image) + 5, torch.arange(ITEMS))


@pytest.fixture(scope="module")
def arm(catalogue: catalogues.Catalogue, split: cells.Split) -> Arm:
    made = make_arm(attributes(catalogue), split.training, catalogue, seed=0)
    schedule = Schedule(30, rows=32)
    fit(made, split.training, split.heldout, catalogue, schedule, seed=0)
    return made


def loss_of(
    arm: Arm, part: cells.Cells, catalogue: catalogues.Catalogue, missing: Missing
) -> float:
    return metrics.figures(part, predict(arm, part, catalogue, missing).ctr).log_loss


def test_content_helps_most_where_items_are_new(
    catalogue: catalogues.Catalogue, split: cells.Split, arm: Arm
) -> None:
    nothing = make_arm(Nothing(), split.training, catalogue, items=True, seed=0)
    fit(nothing, split.training, split.heldout, catalogue, Schedule(30, rows=32), seed=0)
    new = split.heldout.take(~split.known)
    with_content = metrics.auc(new, predict(arm, new, catalogue).ctr)
    without = metrics.auc(new, predict(nothing, new, catalogue).ctr)
    ceiling = metrics.auc(new, new.truth)
    assert without + 0.05 < with_content < ceiling


def test_the_learned_oov_vector_is_better_than_zeros(
    catalogue: catalogues.Catalogue, split: cells.Split, arm: Arm
) -> None:
    learned = loss_of(arm, split.heldout, catalogue, "learned")
    zeros = loss_of(arm, split.heldout, catalogue, "zero")
    assert loss_of(arm, split.heldout, catalogue, "none") < learned < zeros


def test_most_intervals_cover_the_truth(
    catalogue: catalogues.Catalogue, split: cells.Split, arm: Arm
) -> None:
    predicted = predict(arm, split.heldout, catalogue)
    covered = metrics.coverage(split.heldout, predicted.rank)
    assert 0.25 < covered["50%"] < covered["80%"] < covered["95%"]
    assert covered["95%"] > 0.75


def test_arms_of_one_seed_are_the_same(catalogue: catalogues.Catalogue, split: cells.Split) -> None:
    def train() -> tuple[float, ...]:
        made = make_arm(attributes(catalogue), split.training, catalogue, seed=5)
        losses = fit(made, split.training, split.heldout, catalogue, Schedule(2), seed=5)
        return tuple(one.heldout for one in losses)

    assert train() == train()


def test_the_text_tower_learns_the_order_of_words(
    catalogue: catalogues.Catalogue, split: cells.Split, tmp_path: Path
) -> None:
    ids, mask = towers.tokenised([catalogue.text(item) for item in range(ITEMS)])
    content = TrainedText(TextTower().module(), ids, mask)
    made = make_arm(content, split.training, catalogue, seed=0)
    schedule = Schedule(16, rows=32, tower_rate=4e-3, drop=0.0)
    losses = fit(made, split.training, split.heldout, catalogue, schedule, seed=0)
    assert losses[-1].training < losses[0].training
    pairs = [
        ("meet a pan, more comfort, less effort", "meet a pan, more effort, less comfort"),
        ("meet a pan, more value, less waste", "meet a pan, more waste, less value"),
    ]
    with torch.no_grad():
        good, bad = (
            content.tower(*towers.tokenised(list(side))) for side in zip(*pairs, strict=True)
        )
    assert float((good * bad).sum(dim=1).max()) < 0.95
    towers.save_tower(content.tower, tmp_path / "tower.safetensors")
    again = TextTower().module()
    again.load_state_dict(load_file(tmp_path / "tower.safetensors"))
    with torch.no_grad():
        assert torch.equal(again.eval()(ids[:5], mask[:5]), content.tower.eval()(ids[:5], mask[:5]))


def saved(arm: Arm, folder: Path) -> Work:
    work = Work(folder)
    save_head(arm.head, work.head)
    facts = {"items": ITEMS, "days": DAYS, "seed": SEED}
    work.scorer.write_text(json.dumps({**facts, "text_model": "a", "image_model": "b"}))
    return work


def test_a_scorer_says_what_training_said(
    catalogue: catalogues.Catalogue, split: cells.Split, arm: Arm, tmp_path: Path
) -> None:
    scorer = Scorer.load(saved(arm, tmp_path).folder)
    assert (scorer.text_model, scorer.image_model) == ("a", "b")
    assert (scorer.text_dimension, scorer.image_dimension) == (10, 2)
    part = split.heldout.take((split.heldout.user == 3) & (split.heldout.band == 2))
    text, image = arm.content.vectors(torch.from_numpy(part.item))
    assert text is not None
    assert image is not None
    known, unknown = np.ones(len(part), np.bool_), np.zeros(len(part), np.bool_)
    noon = 12.5 * 3600
    given_ = part.item, text.numpy(), known, image.numpy(), known, noon
    scores = scorer.score(3, *given_)
    assert scores.shape == (len(part),)
    assert scores.dtype == np.float32
    assert np.allclose(scores, predict(arm, part, catalogue).ctr, atol=1e-6)
    garbage = np.full_like(text.numpy(), np.nan)
    missing = scorer.score(3, part.item, garbage, unknown, image.numpy() * 9, unknown, noon)
    assert np.allclose(missing, predict(arm, part, catalogue, "learned").ctr, atol=1e-6)
    mixed = scorer.distribution(3, *given_)
    assert np.allclose(mixed.weight.sum(axis=1), 1, atol=1e-5)
    assert mixed.mean.shape == mixed.sigma.shape == mixed.weight.shape
    assert (mixed.sigma > 0).all()


def test_a_scorer_without_training_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"examples\.ctr train"):
        Scorer.load(tmp_path)


def test_a_head_of_another_version_is_refused(tmp_path: Path) -> None:
    shape = HeadShape(3, 3, 4, 4, 0, -2.0)
    file = tmp_path / "head.pt"
    torch.save({"shape": {**asdict(shape), "items": 5}, "state": Head(shape).state_dict()}, file)
    with pytest.raises(ConfigurationError, match="train again"):
        load_head(file)
    file.write_bytes(b"no head")
    with pytest.raises(ConfigurationError, match="train again"):
        load_head(file)
