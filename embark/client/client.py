"""The calls of the client: inputs in batches, the batches' answers joined in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import numpy as np
import numpy.typing as npt
import orjson

from embark.binary import KEYS_TYPE, VECTORS_TYPE
from embark.client.answers import (
    Embeddings,
    Lookup,
    Neighbourhood,
    Result,
    Rows,
    join_rows,
    read_neighbourhood,
    read_result,
    read_rows,
    refuse_unknown_models,
)
from embark.client.inputs import (
    Item,
    Sendable,
    batches,
    encoded_all,
    missing_fields,
    to_json,
)
from embark.client.transport import Transport
from embark.errors import BadRequest, ServiceError
from embark.keys import DIGEST_BYTES

_NEIGHBOUR_ITEMS = 100


class Client:
    """A connection to the service, safe for many threads.

    Args:
        url: the service.
        timeout_s: longest that one HTTP request may take.
        retries: how often a request is sent again when the service cannot be reached or is busy.
        batch_items: most inputs in one HTTP request.
        api_key: secret of the key to send, None for none.
        authority: file with the authority that signed the service's certificate, PEM; None for the
            system's.

    Raises:
        ConfigurationError: the authority's file cannot be used, or the secret cannot be sent.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        timeout_s: float = 30.0,
        retries: int = 3,
        batch_items: int = 500,
        api_key: str | None = None,
        authority: Path | None = None,
    ) -> None:
        self._transport: Final = Transport(url, timeout_s, retries, api_key, authority)
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
        items = ({**one, "model": model} for model in inputs for one in encoded_all(inputs[model]))
        answers = self._send(
            "/v1/lookup", items, {"encoding": "base64", **missing_fields(on_miss, wait_ms)}, wait_ms
        )
        found: dict[str, Lookup] = {}
        first = 0
        for model, sent in inputs.items():
            results = [read_result(one) for one in answers[first : first + len(sent)]]
            found[model] = Lookup(results, self._stack(results, model))
            first += len(sent)
        return found

    def lookup_keys(
        self,
        model: str,
        digests: npt.NDArray[np.uint8],
        *,
        generation: str | None = None,
        dtype: str | None = None,
        on_miss: str = "oov",
        wait_ms: int | None = None,
    ) -> Rows:
        """Look up vectors by their inputs' digests, in binary: the fastest way there is.

        What is missing is not queued, since a digest says nothing of its input.

        Args:
            model: its name.
            digests: shape (n, 16); `embark.keys.digest` of each input, or the last part of a key.
            generation: a served generation; the live one if None.
            dtype: `fp16` or `fp32`; as the archive stores them if None.
            on_miss: see `lookup`; `wait` waits for what is in flight.
            wait_ms: see `lookup`.

        Raises:
            BadRequest: the digests are of another type or shape.
            ServiceError: the service refused the request or cannot be reached.
        """
        digests = np.asarray(digests)
        if digests.dtype != np.uint8 or digests.shape[1:] != (DIGEST_BYTES,):
            raise BadRequest(
                f"digests must be uint8 of shape (n, {DIGEST_BYTES}), not {digests.dtype} of shape"
                f" {digests.shape}",
                code="invalid_keys",
            )
        asked = {"model": model, "generation": generation, "dtype": dtype}
        query = {
            **missing_fields(on_miss, wait_ms),
            **{k: v for k, v in asked.items() if v is not None},
        }
        path, headers = f"/v1/lookup?{urlencode(query)}", {"Content-Type": KEYS_TYPE}
        parts = [
            self._rows(path, digests[start : start + self._batch_items].tobytes(), wait_ms, headers)
            for start in range(0, len(digests), self._batch_items)
        ]
        return join_rows(parts)

    def lookup_vectors(
        self,
        inputs: Sequence[Sendable],
        model: str,
        *,
        dtype: str | None = None,
        on_miss: str = "oov",
        wait_ms: int | None = None,
    ) -> Rows:
        """As `lookup`, answered in binary: vectors and statuses alone, at a fraction of the cost.

        Args:
            inputs: texts, images, URLs or keys of the model.
            model: its name.
            dtype: `fp16` or `fp32`; as the archive stores them if None.
            on_miss: see `lookup`.
            wait_ms: see `lookup`.

        Raises:
            ServiceError: the service refused the request or cannot be reached.
        """
        path = "/v1/lookup" if dtype is None else f"/v1/lookup?{urlencode({'dtype': dtype})}"
        headers = {"Content-Type": "application/json", "Accept": VECTORS_TYPE}
        fields = {**missing_fields(on_miss, wait_ms), "model": model, "partial": True}
        parts = [
            self._rows(path, to_json({**fields, "items": batch}), wait_ms, headers)
            for batch in batches(encoded_all(inputs), self._batch_items)
        ]
        return join_rows(parts)

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
        fields: dict[str, Any] = {"k": k, "exact": exact, **missing_fields(on_miss, wait_ms)}
        if minimum is not None:
            fields["minimum"] = minimum
        if generation is not None:
            fields["generation"] = generation
        items = ({**one, "model": model} for one in encoded_all(inputs))
        most = min(self._batch_items, _NEIGHBOUR_ITEMS)
        answers = self._send("/v1/neighbours", items, fields, wait_ms, most)
        return [read_neighbourhood(answer) for answer in answers]

    def prefetch(self, inputs: Sequence[Sendable], model: str) -> list[str | None]:
        """Queue inputs; return the printed key of each, None for an invalid one.

        They are on disk when this returns.

        Raises:
            ServiceError: the service refused the request or cannot be reached.
        """
        items = ({**one, "model": model} for one in encoded_all(inputs))
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

    def _rows(
        self, path: str, body: bytes, wait_ms: int | None, headers: Mapping[str, str]
    ) -> Rows:
        response = self._transport.send("POST", path, body, (wait_ms or 0) / 1000, headers)
        return read_rows(response.content, response.headers)

    def _send(
        self,
        path: str,
        items: Iterable[Item],
        fields: Mapping[str, Any],
        wait_ms: int | None,
        most: int | None = None,
    ) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        for batch in batches(items, most or self._batch_items):
            body = to_json({**fields, "partial": True, "items": batch})
            try:
                answer = self._transport.request("POST", path, body, (wait_ms or 0) / 1000)
            except ServiceError as error:
                if error.index is not None:
                    error.index += len(answers)
                raise
            answers += answer["items"]
        refuse_unknown_models(answers)
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
