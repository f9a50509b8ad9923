"""From a call of the mix to an HTTP request, and from its answer to statuses of items.

A picture is sent as bytes until its vector is known to be there, and by its key from then on, as
a service does that remembers keys.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from embark.errors import ConfigurationError
from embark.inputs import Modality, image_input
from embark.keys import Key, digest
from loadtests.catalogue import Catalogue
from loadtests.contents import picture, text
from loadtests.scenario import BackfillEvent, LookupCall, PrefetchCall, Scenario, ScoreCall

LOOKUP, PREFETCH, SCORE = "/v1/lookup", "/v1/prefetch", "/score"

Statuses = dict[str, Counter[str]]


@dataclass(frozen=True)
class Wire:
    """An HTTP request: a POST of JSON to a path.

    Attributes:
        asked: item and model of each input, in order.
    """

    path: str
    body: bytes
    asked: Sequence[tuple[int, str]] = ()


@dataclass(frozen=True)
class Served:
    """A model as the service has it."""

    generation: str
    modality: Modality


def served_models(
    described: Iterable[Mapping[str, Any]], needed: Iterable[str]
) -> dict[str, Served]:
    """Return the models that a scenario needs, from what `GET /v1/models` says.

    Raises:
        ConfigurationError: one is not served.
    """
    served = {
        one["name"]: Served(one["generation"], Modality(one["modality"])) for one in described
    }
    for name in needed:
        if name not in served:
            raise ConfigurationError(
                f"the scenario asks model {name!r}; served are: {', '.join(served) or 'none'}"
            )
    return served


class Caller:
    """Makes the requests of one process and reads their answers.

    Args:
        scenario: what is asked.
        served: the service's models.
        index: which process, from 0.
    """

    def __init__(self, scenario: Scenario, served: Mapping[str, Served], index: int) -> None:
        flashes = [event for event in scenario.event if event.kind == "flash"]
        self._scenario: Final = scenario
        self._served: Final = served
        self._index: Final = index
        self._rng: Final = np.random.default_rng((scenario.seed, index, 0xCA11))
        self._catalogue: Final = Catalogue(
            scenario.catalogue, scenario.seed, scenario.arrivals.seconds, flashes
        )
        weights = np.array([call.weight for call in scenario.mix])
        self._shares: Final = weights / weights.sum()
        self._keys: dict[tuple[int, str], str] = {}
        warm = scenario.catalogue.warm
        self._known: set[int] = set(range(scenario.catalogue.size)) if warm else set()

    def draw(self) -> LookupCall | PrefetchCall | ScoreCall:
        """Return which call of the mix comes next."""
        return self._scenario.mix[int(self._rng.choice(len(self._shares), p=self._shares))]

    def request(self, call: LookupCall | PrefetchCall | ScoreCall, at_s: float) -> Wire:
        """Return the request of a call that is due at `at_s`."""
        if call.kind == "score":
            candidates = self._catalogue.pick(at_s, call.items, self._rng)
            user = int(self._rng.integers(call.users))
            return Wire(SCORE, orjson.dumps({"user": user, "items": candidates}))
        if call.kind == "prefetch":
            return self.prefetch(self._catalogue.unseen(call.items, self._index), call.models)
        items = self._catalogue.pick(at_s, call.items, self._rng)
        asked = [(item, model) for model in call.models for item in items]
        return Wire(
            LOOKUP,
            orjson.dumps(
                {
                    "items": [self._input(item, model, by_key=True) for item, model in asked],
                    "encoding": "base64",
                    "partial": True,
                }
            ),
            asked,
        )

    def prefetch(self, items: Sequence[int], models: Sequence[str]) -> Wire:
        """Return a request that queues items as bulk work."""
        asked = [(item, model) for model in models for item in items]
        inputs = [self._input(item, model, by_key=False) for item, model in asked]
        return Wire(PREFETCH, orjson.dumps({"items": inputs}))

    def backfill(self, event: BackfillEvent) -> list[Wire]:
        """Return the requests of a backfill."""
        items = self._catalogue.unseen(event.items, self._index)
        return [
            self.prefetch(items[first : first + event.batch], [model])
            for model in event.models
            for first in range(0, event.items, event.batch)
        ]

    def statuses(self, wire: Wire, answer: bytes) -> Statuses:
        """Return how many items of each model have which status.

        Raises:
            ValueError: not an answer to this request.
        """
        try:
            parsed = orjson.loads(answer)
            if wire.path == SCORE:
                return {model: Counter(found) for model, found in parsed["found"].items()}
            if wire.path == PREFETCH:
                return {}
            return self._read_items(wire.asked, parsed["items"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"answer without {error}") from None

    def _read_items(
        self, asked: Sequence[tuple[int, str]], items: Sequence[Mapping[str, Any]]
    ) -> Statuses:
        if len(items) != len(asked):
            raise ValueError(f"{len(items)} items for {len(asked)}")
        statuses: Statuses = {}
        for (item, model), one in zip(asked, items, strict=True):
            status = one["status"]
            statuses.setdefault(model, Counter())[status] += 1
            if self._served[model].modality is Modality.IMAGE:
                # A key alone cannot be computed: what is not there is sent again whole.
                (self._known.add if status == "hit" else self._known.discard)(item)
        return statuses

    def _input(self, item: int, model: str, *, by_key: bool) -> dict[str, str]:
        seed = self._scenario.seed
        if self._served[model].modality is Modality.TEXT:
            return {"model": model, "text": text(seed, item)}
        if by_key and item in self._known:
            return {"key": self._key(item, model)}
        return {"model": model, "image": base64.b64encode(picture(seed, item)).decode("ascii")}

    def _key(self, item: int, model: str) -> str:
        key = self._keys.get((item, model))
        if key is None:
            content = image_input(picture(self._scenario.seed, item))
            key = str(Key(model, self._served[model].generation, digest(content)))
            self._keys[item, model] = key
        return key
