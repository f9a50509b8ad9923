"""The experiments: cold start, rate of new items against encoders, changes of model, and inline.

Each returns rows of plain numbers, which are what is written; nothing is drawn from anything else.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from embark.fit import Encoders
from embark.fit.sizing import fill_seconds
from examples.ctr.catalogue import Catalogue
from examples.ctr.simulation.archive import Answers, Hits, answers, flushed
from examples.ctr.simulation.outcome import Ranking
from examples.ctr.simulation.rows import Cell, Changed, Inline, Over
from examples.ctr.simulation.scores import Scores
from examples.ctr.simulation.world import HOUR_S, World, make_world

_STEPS = 48


@dataclass(frozen=True)
class Setup:
    """What all experiments share.

    Attributes:
        trained: the catalogue that the model was trained on.
        scores: what the model says of its items.
        impressions, hours: of each simulated world.
        text, image: encoders of both modalities.
        seed: of all draws.
    """

    trained: Catalogue
    scores: Scores
    impressions: int
    hours: float
    text: Encoders
    image: Encoders
    seed: int

    def world(self, new_share: float) -> World:
        """Return traffic with this many new items for each impression."""
        return make_world(self.trained, self.impressions, self.hours, new_share, self.seed)

    @property
    def per_second(self) -> float:
        """Impressions a second."""
        return self.impressions / (self.hours * HOUR_S)


def cold_start(setup: Setup, new_shares: Sequence[float]) -> Iterator[Over]:
    """Begin with an empty archive."""
    for share in new_shares:
        world = setup.world(share)
        ranking = Ranking(world, setup.scores)
        nothing = np.zeros(len(world.looks_like), np.bool_)
        hits = Hits(
            answers(world.trace, setup.text, nothing).hit,
            answers(world.trace, setup.image, nothing).hit,
        )
        for since_h, chosen in _steps(world):
            bounds = ranking.bounds(chosen)
            step = ranking.outcome(hits, chosen, since_h=since_h)
            yield Over(share, step, bounds.known, bounds.none, bounds.eaten(step.auc))


def landscape(setup: Setup, new_shares: Sequence[float], speeds: Sequence[float]) -> Iterator[Cell]:
    """Begin with a full archive, of what is there at the start; items come, the encoders vary.

    Args:
        setup: whose encoders are replaced; batches are as large as its pictures'.
        new_shares: new items for each impression.
        speeds: inputs that each encoder computes in the time of one impression.
    """
    for share in new_shares:
        world = setup.world(share)
        ranking = Ranking(world, setup.scores)
        half = slice(len(world.impressions) // 2, None)
        bounds = ranking.bounds(half)
        for speed in speeds:
            each = speed * setup.per_second
            hit = answers(world.trace, replace(setup.image, throughput=each), world.present).hit
            got = ranking.outcome(Hits(hit, hit), half)
            yield Cell(
                seed=setup.seed,
                new_share=share,
                computed_per_impression=speed,
                throughput=each,
                any_oov=got.any_oov,
                auc=got.auc,
                known_auc=bounds.known,
                none_auc=bounds.none,
                eaten=bounds.eaten(got.auc),
            )


def mean_eaten(cells: Sequence[Cell]) -> dict[float, dict[float, float]]:
    """Return the mean over seeds of `eaten`, by speed and then by share of new items, ascending."""
    found: dict[float, dict[float, float]] = {}
    for speed in sorted({cell.computed_per_impression for cell in cells}):
        row = [cell for cell in cells if cell.computed_per_impression == speed]
        found[speed] = {
            share: float(np.mean([cell.eaten for cell in row if cell.new_share == share]))
            for share in sorted({cell.new_share for cell in row})
        }
    return found


def break_even(cells: Sequence[Cell], eaten: float) -> dict[float, float | None]:
    """Return, by speed, at how many new items for each impression this share of the gain is lost.

    Means over seeds count. Between two simulated rates, by the logarithm; None: at none of them.
    """
    found: dict[float, float | None] = {}
    for speed, row in mean_eaten(cells).items():
        lowest, least = next(iter(row.items()))
        found[speed] = lowest if least >= eaten else None
        for (low, less), (high, more) in itertools.pairwise(row.items()):
            if less < eaten <= more:
                found[speed] = float(low * (high / low) ** ((eaten - less) / (more - less)))
                break
    return found


def changes(setup: Setup, new_share: float, intervals_h: Sequence[float]) -> Iterator[Changed]:
    """Begin with a full archive and change the model at each interval."""
    world = setup.world(new_share)
    ranking = Ranking(world, setup.scores)
    bounds = ranking.bounds()
    encoders = setup.text, setup.image
    fill_h = max(_fill_hours(world, one) for one in encoders)
    kept = [answers(world.trace, one, world.present) for one in encoders]

    def row(policy: str, interval_h: float, both: list[Answers], again: int) -> Changed:
        got = ranking.outcome(Hits(both[0].hit, both[1].hit))
        waits_h = fill_h if policy == "generations" else 0.0
        calls = sum(one.computed for one in both) + again
        return Changed(
            interval_h=interval_h,
            policy=policy,
            any_oov=got.any_oov,
            auc=got.auc,
            eaten=bounds.eaten(got.auc),
            calls_per_impression=calls / len(world.impressions),
            fill_h=waits_h,
            keeps_up=waits_h <= interval_h,
        )

    for interval_h in intervals_h:
        moments = np.arange(interval_h, world.hours, interval_h) * HOUR_S
        emptied = [flushed(world.trace, one, world.present, moments) for one in encoders]
        yield row("flush", interval_h, emptied, 0)
        # At a change, all that has arrived by then is computed again, for both modalities.
        again = 2 * int(np.searchsorted(world.arrival_s, moments, side="right").sum())
        yield row("generations", interval_h, kept, again)


def inline(setup: Setup, candidates: int, budget_s: float) -> Inline:
    """Encode what fits into the time, chosen at random, and leave the other candidates without."""
    world = setup.world(0.0)
    ranking = Ranking(world, setup.scores)
    rng = np.random.default_rng([setup.seed, 6])
    encoders = setup.text, setup.image
    shares = [min(1.0, int(one.throughput * budget_s) / candidates) for one in encoders]
    text, image = (rng.random(len(world.impressions)) < share for share in shares)
    got = ranking.outcome(Hits(text, image))
    return Inline(
        candidates=candidates,
        budget_s=budget_s,
        needed_s=max(candidates / one.throughput for one in encoders),
        text_share=shares[0],
        image_share=shares[1],
        auc=got.auc,
        eaten=ranking.bounds().eaten(got.auc),
    )


def _fill_hours(world: World, encoders: Encoders) -> float:
    new_per_second = world.new_share * len(world.impressions) / (world.hours * HOUR_S)
    return fill_seconds(len(world.looks_like), encoders.capacity, new_per_second) / HOUR_S


def _steps(world: World) -> Iterator[tuple[float, slice]]:
    edges = np.linspace(0, world.hours, _STEPS + 1)
    cuts = np.searchsorted(world.impressions.time_s, edges * HOUR_S).tolist()
    for number, (begin, end) in enumerate(itertools.pairwise(cuts)):
        if end > begin:
            yield float(edges[number]), slice(begin, end)
