"""Statistics of infer requests: counted here, and told in Triton's shape.

They are metrics, so that all processes of a gateway tell the same. The gateway computes nothing, so
an `inference` is a vector that came while its request waited, and the compute times are 0: Retina's
own statistics have them. Triton's cache is here the archive, counted by item.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from flask import Blueprint, Response

from embark.codec import Embedding
from embark.metrics import (
    INFER_ITEMS,
    INFER_LAST,
    INFER_LOOKUP,
    INFER_REQUESTS,
    shared_registry,
)
from embark.models import Model
from gateway.items import ItemParser
from gateway.lookup import Result
from gateway.responses import json_response
from gateway.views.inference.versions import find_version

_HIT, _COMPUTED, _ABSENT = "hit", "computed", "absent"
_ANSWERED, _FAILED = "answered", "failed"
_FAMILIES = frozenset(one._name for one in (INFER_REQUESTS, INFER_ITEMS, INFER_LOOKUP, INFER_LAST))


class Taken(NamedTuple):
    """How long a request took, in seconds: all of it, and its lookup."""

    request: float
    lookup: float


def count_answer(model: Model, results: Sequence[Result], asked_ms: int, taken: Taken) -> None:
    """Count an answered request.

    Args:
        model: which generation answered.
        results: of its lookup.
        asked_ms: when it came, milliseconds since 1970.
        taken: how long it took.
    """
    version = str(model.facts.version)
    outcomes = Counter(_outcome(result, asked_ms) for result in results)
    for outcome, count in outcomes.items():
        INFER_ITEMS.labels(model.name, version, outcome).inc(count)
        share = taken.lookup * count / len(results)
        INFER_LOOKUP.labels(model.name, version, outcome).inc(share)
    outcome = _COMPUTED if outcomes[_COMPUTED] else _ANSWERED
    INFER_REQUESTS.labels(model.name, version, outcome).observe(taken.request)
    INFER_LAST.labels(model.name, version).set(time.time())


def count_failure(model: Model, seconds: float) -> None:
    """Count a request that was answered with an error after `seconds`."""
    INFER_REQUESTS.labels(model.name, str(model.facts.version), _FAILED).observe(seconds)


def routes(parser: ItemParser) -> Blueprint:
    """Return the endpoints."""
    blueprint = Blueprint("inference_statistics", __name__)

    @blueprint.get("/v2/models/stats")
    def every() -> Response:
        catalogue = parser.catalogue
        return _told([model for name in catalogue for model in catalogue.generations(name)])

    @blueprint.get("/v2/models/<name>/stats")
    @blueprint.get("/v2/models/<name>/versions/<version>/stats")
    def one(name: str, version: str | None = None) -> Response:
        catalogue = parser.catalogue
        if version is None:
            return _told(catalogue.generations(name))
        return _told([find_version(catalogue, name, version)])

    return blueprint


def _outcome(result: Result, asked_ms: int) -> str:
    if not isinstance(result.record, Embedding):
        return _ABSENT
    return _COMPUTED if result.record.written_ms >= asked_ms else _HIT


def _told(models: Sequence[Model]) -> Response:
    samples = {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in shared_registry().collect()
        if family.name in _FAMILIES
        for sample in family.samples
    }
    return json_response({"model_stats": [_Counters(samples, model).told() for model in models]})


class _Counters:
    """The counters of one generation, as Triton tells them."""

    def __init__(self, samples: dict[tuple[str, ...], float], model: Model) -> None:
        self._samples = samples
        self._name, self._version = model.name, str(model.facts.version)

    def told(self) -> dict[str, Any]:
        computed = self._requests(_COMPUTED)
        success = _sum(self._requests(_ANSWERED), computed)
        compute = {"count": computed["count"], "ns": 0}
        return {
            "name": self._name,
            "version": self._version,
            "last_inference": round(1000 * self._value("embark_infer_last_timestamp_seconds")),
            "inference_count": self._items(_COMPUTED)["count"],
            "execution_count": computed["count"],
            "inference_stats": {
                "success": success,
                "fail": self._requests(_FAILED),
                "queue": {"count": success["count"], "ns": 0},
                "compute_input": compute,
                "compute_infer": compute,
                "compute_output": compute,
                "cache_hit": self._items(_HIT),
                "cache_miss": _sum(self._items(_COMPUTED), self._items(_ABSENT)),
            },
            "batch_stats": [],
        }

    def _requests(self, outcome: str) -> dict[str, int]:
        name = "embark_infer_request_seconds"
        return self._pair(f"{name}_count", f"{name}_sum", outcome)

    def _items(self, outcome: str) -> dict[str, int]:
        return self._pair("embark_infer_items_total", "embark_infer_lookup_seconds_total", outcome)

    def _pair(self, count: str, seconds: str, outcome: str) -> dict[str, int]:
        return {
            "count": round(self._value(count, outcome)),
            "ns": round(1e9 * self._value(seconds, outcome)),
        }

    def _value(self, sample: str, *outcome: str) -> float:
        # Labels in the order of their names: model, outcome, version.
        return self._samples.get((sample, self._name, *outcome, self._version), 0.0)


def _sum(*pairs: dict[str, int]) -> dict[str, int]:
    return {name: sum(pair[name] for pair in pairs) for name in ("count", "ns")}
