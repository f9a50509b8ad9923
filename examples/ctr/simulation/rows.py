"""The rows that experiments return: plain numbers, written as they are."""

from __future__ import annotations

from dataclasses import dataclass

from examples.ctr.simulation.outcome import Outcome


@dataclass(frozen=True)
class Over:
    """A step of time in a cold start.

    Attributes:
        new_share: new items for each impression.
        outcome: of the step.
        known_auc, none_auc: AUC in this step if every vector were there, and if none were.
        eaten: see `Cell`.
    """

    new_share: float
    outcome: Outcome
    known_auc: float
    none_auc: float
    eaten: float


@dataclass(frozen=True)
class Cell:
    """A rate of new items with encoders of one speed; of the second half of the time.

    Attributes:
        seed: of the traffic.
        new_share: new items for each impression.
        computed_per_impression: inputs that the encoders of each modality can compute in the time
            of one impression.
        throughput: the same for each second.
        any_oov: share of impressions that miss a vector.
        auc, known_auc, none_auc: as it is, with every vector, with none.
        eaten: share of the gain by content (`known_auc - none_auc`) that is lost.
    """

    seed: int
    new_share: float
    computed_per_impression: float
    throughput: float
    any_oov: float
    auc: float
    known_auc: float
    none_auc: float
    eaten: float


@dataclass(frozen=True)
class Changed:
    """Changes of model at an interval.

    Attributes:
        interval_h: hours between changes.
        policy: `flush` empties the archive at each; `generations` fills beside the live one.
        any_oov: share of impressions that miss a vector.
        auc: of all impressions.
        eaten: see `Cell`.
        calls_per_impression: inputs computed, both modalities, for each impression; inline it is 2.
        fill_h: hours until a new generation is live; 0 with `flush`.
        keeps_up: whether it is live before the next change.
    """

    interval_h: float
    policy: str
    any_oov: float
    auc: float
    eaten: float
    calls_per_impression: float
    fill_h: float
    keeps_up: bool


@dataclass(frozen=True)
class Inline:
    """No archive: encoders run within the request, for as many candidates as the time allows.

    Attributes:
        candidates: of a request.
        budget_s: the time for encoding them.
        needed_s: what encoding all of them takes one replica of each encoder.
        text_share, image_share: of the candidates that are encoded in time.
        auc, eaten: with content for those alone.
    """

    candidates: int
    budget_s: float
    needed_s: float
    text_share: float
    image_share: float
    auc: float
    eaten: float
