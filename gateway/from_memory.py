"""Lookups in binary that memory answers whole, before Flask: they take less than Flask itself.

A middleware of WSGI that knows one case only: keys in binary, all in L1, asked by somebody whom the
server has let in. If anything else is about a request, Flask and `gateway.views.binary` answer it.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import numpy as np

from embark import tracing
from embark.api_keys import Scope
from embark.binary import HEADER, KEYS_TYPE, VECTORS_TYPE
from embark.following import Following
from embark.keys import DIGEST_BYTES
from embark.metrics import LOOKUP_REQUESTS
from embark.models import Model
from gateway.access.hooks import GRANT
from gateway.batches import Batches
from gateway.lookup import ON_MISS
from gateway.views.binary import STORED, written

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

_PATH = "/v1/lookup"


class FromMemory:
    """The middleware.

    Args:
        app: answers everything else.
        following: the models.
        batches: has the vectors.
        max_items: most keys in one request.
    """

    def __init__(
        self, app: WSGIApplication, following: Following, batches: Batches, max_items: int
    ) -> None:
        self._app: Final = app
        self._following: Final = following
        self._batches: Final = batches
        self._most_bytes: Final = max_items * DIGEST_BYTES
        self._taken: Final = LOOKUP_REQUESTS.labels(endpoint=_PATH, status="200")

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """See PEP 3333."""
        if environ.get("CONTENT_TYPE") == KEYS_TYPE and environ["PATH_INFO"] == _PATH:
            began = time.perf_counter()
            answer = self._answer(environ)
            if answer is not None:
                body, told = answer
                headers = [("Content-Type", VECTORS_TYPE), ("Content-Length", str(len(body)))]
                start_response("200 OK", [*headers, (HEADER, told)])
                self._taken.observe(time.perf_counter() - began)
                return [body]
        return self._app(environ, start_response)

    def _answer(self, environ: dict[str, Any]) -> tuple[bytes, str] | None:
        if not _is_plain(environ):
            return None
        model = self._model(environ["QUERY_STRING"])
        length = environ.get("CONTENT_LENGTH", "")
        # More digits than a number of bytes has are for Flask to refuse.
        size = int(length) if length.isascii() and length.isdecimal() and len(length) < 10 else 0
        if model is None or not 0 < size <= self._most_bytes or size % DIGEST_BYTES:
            return None
        body = environ["wsgi.input"].read(size)
        environ["wsgi.input"] = io.BytesIO(body)
        if len(body) < size:
            return None
        digests = np.frombuffer(body, np.uint8).reshape(-1, DIGEST_BYTES)
        batch = self._batches.from_memory(model, digests)
        return None if batch is None else written([model], batch, STORED[model.facts.dtype])

    def _model(self, query: str) -> Model | None:
        name, generation = _named(query)
        catalogue = self._following.current
        if name is None or name not in catalogue:
            return None
        return catalogue[name] if generation is None else catalogue.served(name, generation)


def _is_plain(environ: dict[str, Any]) -> bool:
    """Whether a request is one that the server has let in, and needs no second look."""
    grant = environ.get(GRANT)
    if grant is None or Scope.READ not in grant.scopes or tracing.enabled():
        return False
    remaining_s = grant.remaining_s(time.monotonic())
    return (
        environ["REQUEST_METHOD"] == "POST"
        and "HTTP_CONTENT_ENCODING" not in environ
        and "HTTP_TRANSFER_ENCODING" not in environ
        and (remaining_s is None or remaining_s > 0)
    )


@lru_cache(256)
def _named(query: str) -> tuple[str | None, str | None]:
    """Return the model and the generation of a query; no model for one that says more."""
    asked = parse_qsl(query, keep_blank_values=True)
    parameters = dict(asked)
    known = {"model", "generation", "on_miss"}
    if len(parameters) < len(asked) or not known.issuperset(parameters):
        return None, None
    # With every vector there, it makes no difference which of them it is.
    if parameters.get("on_miss", ON_MISS[0]) not in ON_MISS:
        return None, None
    return parameters.get("model"), parameters.get("generation")
