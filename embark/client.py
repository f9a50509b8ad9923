"""The client of EmbArk's service: batches, retries, NumPy out.

with Client() as client:
    found = client.lookup(["a text", "another"], "minilm")
    found.embeddings  # float32, shape (2, 384)
    found.hits        # which rows are vectors, not the out-of-vocabulary one
"""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import numpy.typing as npt
import orjson

from embark.errors import BadRequest, ServiceError
from embark.keys import Key

_RETRIED = (429, 502, 503, 504)
_FIRST_DELAY_SECONDS = 0.2
_LONGEST_DELAY_SECONDS = 10.0
_BATCH_BYTES = 32 * 2**20


@dataclass(frozen=True)
class ImageUrl:
    """The URL of an image, to tell it from a text."""

    url: str

    def __str__(self) -> str:
        return self.url


Sendable = str | bytes | Path | ImageUrl | Key
"""A text, an image's bytes, an image file, an image's URL, or a key."""

Embeddings = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Result:
    """What the service says about one input.

    Attributes:
        status: `hit`, `oov`, `failed` or `invalid`.
        key: printed key, None if invalid.
        age_ms: how long ago the record was written, None if there is none.
        queued: for `oov`, whether the input is known to be in the queue.
        reason: code and message, for `failed` and `invalid`.
        embedding: float32 of shape (dimension,); the out-of-vocabulary vector unless `hit`, None
            if invalid.
    """

    status: str
    key: str | None
    age_ms: int | None
    queued: bool | None
    reason: dict[str, str] | None
    embedding: Embeddings | None


@dataclass(frozen=True)
class Lookup:
    """The answer to a lookup.

    Attributes:
        items: a result for each input, in order.
        embeddings: float32 of shape (inputs, dimension); NaN where the input is invalid.
    """

    items: list[Result]
    embeddings: Embeddings

    @property
    def hits(self) -> npt.NDArray[np.bool_]:
        """Which rows are vectors of their inputs; shape (inputs,)."""
        return np.array([item.status == "hit" for item in self.items], np.bool_)

    def __len__(self) -> int:
        return len(self.items)


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
        self._http: Final = httpx.Client(base_url=url, timeout=timeout_s, trust_env=False)
        self._timeout_s: Final = timeout_s
        self._retries: Final = retries
        self._batch_items: Final = batch_items

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; idempotent."""
        self._http.close()

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
        fields: dict[str, Any] = {"model": model, "on_miss": on_miss, "encoding": "base64"}
        if wait_ms is not None:
            fields["wait_ms"] = wait_ms
        answers = self._send("/v1/lookup", inputs, fields, (wait_ms or 0) / 1000)
        items = [_result(answer) for answer in answers]
        return Lookup(items, self._stack(items, model))

    def prefetch(self, inputs: Sequence[Sendable], model: str) -> list[str | None]:
        """Queue inputs; return the printed key of each, None for an invalid one.

        They are on disk when this returns.

        Raises:
            ServiceError: the service refused the request or cannot be reached.
        """
        answers = self._send("/v1/prefetch", inputs, {"model": model}, 0)
        return [answer.get("key") for answer in answers]

    def models(self) -> list[dict[str, Any]]:
        """Return the service's models as `GET /v1/models` describes them.

        Raises:
            ServiceError: the service cannot be reached.
        """
        models: list[dict[str, Any]] = self._request("GET", "/v1/models")["models"]
        return models

    def health(self) -> dict[str, Any]:
        """Return the service's readiness, with the state of each dependency.

        Raises:
            ServiceError: the service cannot be reached.
        """
        response = self._exchange("GET", "/v2/health/ready", None, 0)
        health: dict[str, Any] = orjson.loads(response.content)
        return health

    def _send(
        self, path: str, inputs: Sequence[Sendable], fields: dict[str, Any], extra_s: float
    ) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        for items in self._batches(inputs):
            body = orjson.dumps({**fields, "partial": True, "items": items})
            try:
                answers += self._request("POST", path, body, extra_s)["items"]
            except ServiceError as error:
                if error.index is not None:
                    error.index += len(answers)
                raise
        return answers

    def _batches(self, inputs: Sequence[Sendable]) -> Iterator[list[dict[str, str]]]:
        batch: list[dict[str, str]] = []
        size = 0
        for one in inputs:
            item = _encoded(one)
            length = sum(map(len, item.values()))
            if batch and (len(batch) == self._batch_items or size + length > _BATCH_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(item)
            size += length
        if batch:
            yield batch

    def _request(
        self, method: str, path: str, body: bytes | None = None, extra_s: float = 0
    ) -> dict[str, Any]:
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                response = self._exchange(method, path, body, extra_s)
            except ServiceError:
                if last:
                    raise
                _pause(attempt, None)
                continue
            if response.status_code in _RETRIED and not last:
                _pause(attempt, response.headers.get("Retry-After"))
                continue
            if not response.is_success:
                raise _service_error(response)
            answer: dict[str, Any] = orjson.loads(response.content)
            return answer
        raise AssertionError("unreachable")

    def _exchange(
        self, method: str, path: str, body: bytes | None, extra_s: float
    ) -> httpx.Response:
        try:
            return self._http.request(
                method,
                path,
                content=body,
                headers={"Content-Type": "application/json"},
                timeout=self._timeout_s + extra_s,
            )
        except httpx.TransportError as error:
            raise ServiceError(
                f"no answer from {self._http.base_url} ({type(error).__name__}); is `embark up`"
                " running there?",
                code="unreachable",
            ) from error

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


def _encoded(one: Sendable) -> dict[str, str]:
    if isinstance(one, str):
        return {"text": one}
    if isinstance(one, ImageUrl):
        return {"image_url": one.url}
    if isinstance(one, Key):
        return {"key": str(one)}
    if isinstance(one, Path):
        one = read_file(one)
    return {"image": base64.b64encode(one).decode("ascii")}


def read_file(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        BadRequest: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {error.strerror}", code="unreadable") from None


def _result(answer: dict[str, Any]) -> Result:
    encoded = answer.get("embedding")
    embedding = None if encoded is None else np.frombuffer(base64.b64decode(encoded), "<f4")
    return Result(
        status=answer["status"],
        key=answer.get("key"),
        age_ms=answer.get("age_ms"),
        queued=answer.get("queued"),
        reason=answer.get("reason") or answer.get("error"),
        embedding=embedding,
    )


def _pause(attempt: int, retry_after: str | None) -> None:
    delay = _FIRST_DELAY_SECONDS * 2.0**attempt * random.uniform(0.5, 1.0)
    if retry_after is not None and retry_after.isdecimal():
        delay = max(delay, float(retry_after))
    time.sleep(min(delay, _LONGEST_DELAY_SECONDS))


def _service_error(response: httpx.Response) -> ServiceError:
    try:
        error = orjson.loads(response.content)["error"]
        code, message, index = error["code"], error["message"], error.get("index")
    except (ValueError, KeyError, TypeError):
        code, message, index = None, f"the service answered {response.status_code}", None
    return ServiceError(message, code=code, status=response.status_code, index=index)
