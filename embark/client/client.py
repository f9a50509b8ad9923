"""The calls of the client: inputs in batches, the batches' answers joined in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson

from embark.client.answers import (
    Embeddings,
    Lookup,
    Neighbourhood,
    Result,
    read_neighbourhood,
    read_result,
)
from embark.client.inputs import Sendable, encoded
from embark.client.transport import Transport
from embark.errors import ServiceError

_BATCH_BYTES = 32 * 2**20
_UNKNOWN_MODEL = "unknown_model"
_NEIGHBOUR_ITEMS = 100

Item = dict[str, str]


class Client:
    """A connection to the service, safe for many threads.

    Args:
        url: the service.
        timeout_s: longest that one HTTP request may take.
        retries: how often a request is sent again when the service cannot be reached or is busy.
        batch_items: most inputs in one HTTP request.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        timeout_s: float = 30.0,
        retries: int = 3,
        batch_items: int = 500,
    ) -> None:
        self._transport: Final = Transport(url, timeout_s, retries)
        self._batch_items: Final = batch_items

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; idempotent."""
        self._transport.close()

    def lookup(
        self,
        inputs: Sequence[Sendable],
        model: str,
        *,
        on_miss: str = "oov",
        wait_ms: int | None = None,
    ) -> Lookup:
        """Look up the vectors of inputs.

        An input that is invalid or failed does not raise: its item says so.

        Args:
            inputs: texts, images, URLs or keys of one model.
            model: its name.
            on_miss: `oov` answers at once; `wait` waits up to `wait_ms` for missing vectors;
                `skip` answers at once and does not queue them.
            wait_ms: for `wait`, in milliseconds, for each HTTP request.

        Raises:
            ServiceError: the service refused the request or cannot be reached.
        """
        return self.lookup_all({model: inputs}, on_miss=on_miss, wait_ms=wait_ms)[model]

    def lookup_all(
        self,
        inputs: Mapping[str, Sequence[Sendable]],
        *,
        on_miss: str = "oov",
        wait_ms: int | None = None,
    ) -> dict[str, Lookup]:
        """Look up the vectors of several models' inputs, in one HTTP request if it holds them.

        More than `batch_items` inputs, or 32 MiB of them, go in several requests one after another;
        a request takes the inputs in their order and may hold the end of one model's and the
        beginning of the next's.

        Args:
            inputs: by model, as for `lookup`.
            on_miss: see `lookup`.
            wait_ms: see `lookup`.

        Returns:
            The answer for each model.

        Raises:
            ServiceError: the service refused a request or cannot be reached, or a model is unknown.
        """
        items = ({**encoded(one), "model": model} for model in inputs for one in inputs[model])
        answers = self._send(
            "/v1/lookup", items, {"encoding": "base64", **_missing(on_miss, wait_ms)}, wait_ms
        )
        found: dict[str, Lookup] = {}
        first = 0
        for model, sent in inputs.items():
            results = [read_result(one) for one in answers[first : first + len(sent)]]
            found[model] = Lookup(results, self._stack(results, model))
            first += len(sent)
        return found

    def neighbours(
        self,
        inputs: Sequence[Sendable],
        model: str,
        *,
        k: int = 10,
        minimum: float | None = None,
        generation: str | None = None,
        exact: bool = False,
        on_miss: str = "oov",
        wait_ms: int | None = None,
    ) -> list[Neighbourhood]:
        """Return the nearest items of each input, by cosine; the input itself is left out.

        Args:
            inputs: texts, images, URLs or keys of one model.
            model: its name.
            k: how many of the nearest.
            minimum: cosine below which an item is not near.
            generation: which vectors are compared; the live generation's if None.
            exact: compare with every vector, which takes long, for checking.
            on_miss: see `lookup`.
            wait_ms: see `lookup`.

        Raises:
            ServiceError: the service refused the request or cannot be reached, or is too busy.
        """
        fields: dict[str, Any] = {"k": k, "exact": exact, **_missing(on_miss, wait_ms)}
        if minimum is not None:
            fields["minimum"] = minimum
        if generation is not None:
            fields["generation"] = generation
        items = ({**encoded(one), "model": model} for one in inputs)
        most = min(self._batch_items, _NEIGHBOUR_ITEMS)
        answers = self._send("/v1/neighbours", items, fields, wait_ms, most)
        return [read_neighbourhood(answer) for answer in answers]

    def prefetch(self, inputs: Sequence[Sendable], model: str) -> list[str | None]:
        """Queue inputs; return the printed key of each, None for an invalid one.

        They are on disk when this returns.

        Raises:
            ServiceError: the service refused the request or cannot be reached.
        """
        items = ({**encoded(one), "model": model} for one in inputs)
        return [answer.get("key") for answer in self._send("/v1/prefetch", items, {}, None)]

    def models(self) -> list[dict[str, Any]]:
        """Return the service's models as `GET /v1/models` describes them.

        Raises:
            ServiceError: the service cannot be reached.
        """
        models: list[dict[str, Any]] = self._transport.request("GET", "/v1/models")["models"]
        return models

    def health(self) -> dict[str, Any]:
        """Return the service's readiness, with the state of each dependency.

        Raises:
            ServiceError: the service cannot be reached.
        """
        response = self._transport.exchange("GET", "/v2/health/ready")
        health: dict[str, Any] = orjson.loads(response.content)
        return health

    def _send(
        self,
        path: str,
        items: Iterable[Item],
        fields: Mapping[str, Any],
        wait_ms: int | None,
        most: int | None = None,
    ) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        for batch in _batches(items, most or self._batch_items):
            body = orjson.dumps({**fields, "partial": True, "items": batch})
            try:
                answer = self._transport.request("POST", path, body, (wait_ms or 0) / 1000)
            except ServiceError as error:
                if error.index is not None:
                    error.index += len(answers)
                raise
            answers += answer["items"]
        _refuse_unknown_models(answers)
        return answers

    def _stack(self, items: Sequence[Result], model: str) -> Embeddings:
        known = [item.embedding for item in items if item.embedding is not None]
        dimension = len(known[0]) if known else self._dimension(model)
        embeddings = np.full((len(items), dimension), np.nan, np.float32)
        for row, item in zip(embeddings, items, strict=True):
            if item.embedding is not None:
                row[:] = item.embedding
        return embeddings

    def _dimension(self, name: str) -> int:
        return next(
            (int(model["dimension"]) for model in self.models() if model["name"] == name), 0
        )


def _batches(items: Iterable[Item], most: int) -> Iterator[list[Item]]:
    batch: list[Item] = []
    size = 0
    for item in items:
        length = sum(map(len, item.values()))
        if batch and (len(batch) == most or size + length > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += length
    if batch:
        yield batch


def _missing(on_miss: str, wait_ms: int | None) -> dict[str, Any]:
    fields: dict[str, Any] = {"on_miss": on_miss}
    if wait_ms is not None:
        fields["wait_ms"] = wait_ms
    return fields


def _refuse_unknown_models(answers: Sequence[Mapping[str, Any]]) -> None:
    """Raise if an item's model is unknown: that is the caller's mistake, not the input's."""
    for index, answer in enumerate(answers):
        error = answer.get("error")
        if error is not None and error["code"] == _UNKNOWN_MODEL:
            raise ServiceError(error["message"], code=error["code"], status=404, index=index)
