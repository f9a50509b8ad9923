"""Where a training run's vectors come from: the service, or a dataset. No torch here."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol

import numpy as np
import numpy.typing as npt

from embark.client import Client, Lookup, Sendable
from embark.dataset import Dataset
from embark.dataset.digests import as_array, digest_of
from embark.errors import BadRequest, ConfigurationError, Unavailable
from embark.keys import DIGEST_BYTES, Key, parse_key
from embark.torch.cache import VectorCache

_ANY_GENERATION = "0" * 16
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class Vectors:
    """What a source has of a batch.

    Attributes:
        vectors: float32, shape (inputs, dimension); zeros where there is none.
        statuses: of each input: `hit`, `oov`, `failed` or `invalid`.
    """

    vectors: npt.NDArray[np.float32]
    statuses: list[str]

    @property
    def hits(self) -> npt.NDArray[np.bool_]:
        """Which rows are vectors; shape (inputs,)."""
        return np.array([status == "hit" for status in self.statuses], np.bool_)


class Source(Protocol):
    """Vectors of one generation of one model. Safe for many threads."""

    @property
    def generation(self) -> str:
        """The generation of every vector that it gives."""
        ...

    @property
    def oov(self) -> npt.NDArray[np.float32]:
        """The model's out-of-vocabulary vector, shape (dimension,)."""
        ...

    def fetch(self, inputs: Sequence[Sendable], stop: threading.Event) -> Vectors:
        """Return the vectors of a batch, in order; ends soon after `stop` is set.

        Raises:
            BadRequest: an image file cannot be read.
            ConfigurationError: it is called where it may not be, or the generation has changed.
            ServiceError: the service refused the request or cannot be reached.
            Unavailable: vectors that were waited for did not come in time.
        """
        ...


class DatasetSource:
    """Vectors out of a dataset: what it lacks stays missing.

    Args:
        dataset: what was exported.
        model: whose vectors are expected.
        generation: which are expected, None for any.

    Raises:
        ConfigurationError: the dataset is of another model or generation.
    """

    def __init__(self, dataset: Dataset, model: str, generation: str | None) -> None:
        manifest = dataset.manifest
        if manifest.model != model or generation not in (None, manifest.generation):
            raise ConfigurationError(
                f"the dataset is of {manifest.model}, generation {manifest.generation}; asked for"
                f" is {model}, generation {generation or 'any'}"
            )
        self.generation: Final = manifest.generation
        self.oov: Final = dataset.oov
        self._dataset: Final = dataset

    def fetch(self, inputs: Sequence[Sendable], stop: threading.Event) -> Vectors:
        """See `Source.fetch`."""
        digests = _digests(inputs, self._dataset.manifest.model)
        rows = self._dataset.find(as_array(one or bytes(DIGEST_BYTES) for one in digests))
        rows[[one is None for one in digests]] = -1
        vectors = np.zeros((len(rows), len(self.oov)), np.float32)
        vectors[rows >= 0] = self._dataset.embeddings[rows[rows >= 0]]
        statuses = [
            "invalid" if digest is None else "hit" if row >= 0 else "oov"
            for digest, row in zip(digests, rows, strict=True)
        ]
        return Vectors(vectors, statuses)


class ServiceSource:
    """Vectors from the service; those that came once are kept for the next epoch.

    Args:
        client: a connection, of the process that fetches.
        model: public model name.
        generation: the only one that is accepted, None for the one that is live now.
        wait_s: how long to wait for missing vectors, None to take placeholders at once.
        cache_bytes: memory for vectors that came.

    Raises:
        ConfigurationError: another generation is live.
        ServiceError: the service cannot be reached, or has no such model.
    """

    def __init__(
        self,
        client: Client,
        model: str,
        *,
        generation: str | None,
        wait_s: float | None,
        cache_bytes: int,
    ) -> None:
        self._client: Final = client
        self._model: Final = model
        self._wait_s: Final = wait_s
        self._process: Final = os.getpid()
        # No input has a random digest, so that this is answered with the OOV vector.
        probe = Key(model, _ANY_GENERATION, os.urandom(DIGEST_BYTES))
        (answer,) = client.lookup([probe], model, on_miss="skip").items
        assert answer.key is not None
        assert answer.embedding is not None
        self.generation: Final = generation or parse_key(answer.key).generation
        self._check(answer.key)
        self.oov: Final = answer.embedding
        dtype = _dtype(client, model, self.generation)
        self.cache: Final = VectorCache(cache_bytes, len(self.oov), dtype)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a CachedEmbedding over the service has connections and cannot be pickled or copied:"
            " save its state_dict(), and use it in the main process, not in DataLoader's workers"
        )

    def fetch(self, inputs: Sequence[Sendable], stop: threading.Event) -> Vectors:
        """See `Source.fetch`. Asks for each different input that is not kept, once."""
        if os.getpid() != self._process:
            raise ConfigurationError(
                "a CachedEmbedding was used in a forked process, which must not share its"
                " connections: look vectors up in the main process, not in DataLoader's workers"
            )
        digests = _digests(inputs, self._model)
        vectors = np.zeros((len(digests), len(self.oov)), np.float32)
        kept = self.cache.take(digests, vectors)
        wanted = {
            digest: one
            for digest, one, has in zip(digests, inputs, kept, strict=True)
            if digest is not None and not has
        }
        statuses, fresh = self._ask(wanted, stop)
        for row, digest in enumerate(digests):
            if digest in fresh:
                vectors[row] = fresh[digest]
        return Vectors(
            vectors,
            [
                "hit" if has else "invalid" if digest is None else statuses[digest]
                for digest, has in zip(digests, kept, strict=True)
            ],
        )

    def _ask(
        self, wanted: dict[bytes, Sendable], stop: threading.Event
    ) -> tuple[dict[bytes, str], dict[bytes, npt.NDArray[np.float32]]]:
        """Return the status of each input, and the vectors that there are."""
        statuses: dict[bytes, str] = {}
        fresh: dict[bytes, npt.NDArray[np.float32]] = {}
        started = time.monotonic()
        while wanted:
            found = self._lookup(list(wanted.values()))
            for digest, item in zip(wanted, found.items, strict=True):
                statuses[digest] = item.status
                if item.status == "hit" and item.embedding is not None:
                    fresh[digest] = item.embedding
            if self._wait_s is None or stop.is_set():
                break
            wanted = {digest: one for digest, one in wanted.items() if statuses[digest] == "oov"}
            if wanted and time.monotonic() - started >= self._wait_s:
                raise Unavailable(
                    f"{len(wanted)} vectors of {self._model} did not come within"
                    f" {self._wait_s:g} s; prefetch the inputs, raise wait_s, or take placeholders"
                    " with on_miss='oov'",
                    code="late",
                )
            stop.wait(_PAUSE_SECONDS if wanted else 0)
        self.cache.add(fresh)
        return statuses, fresh

    def _lookup(self, inputs: list[Sendable]) -> Lookup:
        on_miss = "oov" if self._wait_s is None else "wait"
        found = self._client.lookup(inputs, self._model, on_miss=on_miss)
        for item in found.items:
            self._check(item.key)
        return found

    def _check(self, printed: str | None) -> None:
        if printed is None or parse_key(printed).generation == self.generation:
            return
        raise ConfigurationError(
            f"the service answers with generation {parse_key(printed).generation} of"
            f" {self._model}, and this run trains on {self.generation}; their vectors do not mix:"
            " roll the model back, export a dataset of the generation, or train anew",
            code="generation_changed",
        )


def _digests(inputs: Sequence[Sendable], model: str) -> list[bytes | None]:
    """Return the digest of each input, None for what has none.

    Raises:
        BadRequest: a file cannot be read.
    """
    digests: list[bytes | None] = []
    for one in inputs:
        try:
            digests.append(digest_of(one, model))
        except BadRequest as error:
            if error.code == "unreadable":
                raise
            digests.append(None)
    return digests


def _dtype(client: Client, model: str, generation: str) -> str:
    """Return a type that holds the generation's vectors as they are stored."""
    for described in client.models():
        if described["name"] == model and described["generation"] == generation:
            return str(described["dtype"])
    return "float32"
