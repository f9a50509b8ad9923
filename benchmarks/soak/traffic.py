"""One client process: asks as fast as it is answered, and compares every vector that it is given.

Popularity is Zipf's. Nine of ten requests are keys in binary, the others texts in JSON; a few texts
a second are new, and what is once a hit of such a text must stay the same.
"""

from __future__ import annotations

import base64
import json
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.gateway.peers.base import post
from benchmarks.gateway.peers.embark import KEYS_HEADERS
from benchmarks.gateway.programs.http_client import Connection
from embark.binary import VECTORS_TYPE, Status
from loadtests.catalogue import Catalogue
from loadtests.scenario import Items

_ITEMS = 100
_NEW_AT_ONCE = 4
_NEW_REMEMBERED = 400
_MOST_KEPT = 200
_AGAIN_SECONDS = 0.05
_ZIPF = 1.0
_JSON = {"Content-Type": "application/json"}

_counters: Any = None

Rows = tuple[npt.NDArray[np.uint8], npt.NDArray[np.floating[Any]]]
"""Statuses (`embark.binary.Status`) and vectors, a row for each item."""


@dataclass(frozen=True)
class Archived:
    """What the archive holds of one model.

    Attributes:
        model, generation: whose.
        texts: the inputs.
        digests: shape (n, 16).
        vectors: as they are stored, float16 of shape (n, dimension).
    """

    model: str
    generation: str
    texts: Sequence[str]
    digests: npt.NDArray[np.uint8]
    vectors: npt.NDArray[np.float16]


@dataclass
class Seen:
    """What one client saw.

    Attributes:
        vectors: how many were compared.
        missing: how many archived items were not answered as hits.
        computed: how many new texts became hits.
        wrong: of vectors that are not the item's, the first ones.
        errors: when, in monotonic seconds, and what.
    """

    vectors: int = 0
    missing: int = 0
    computed: int = 0
    wrong: list[str] = field(default_factory=list)
    errors: list[tuple[float, str]] = field(default_factory=list)


class Client:
    """Asks a gateway on loopback.

    Args:
        port: the gateway's.
        archived: what must be found.
        number: which client; each has its own new texts.
        new_per_second: new texts.
    """

    def __init__(self, port: int, archived: Archived, number: int, new_per_second: float) -> None:
        self._port: Final = port
        self._archived: Final = archived
        self._number: Final = number
        self._rng: Final = np.random.default_rng(number)
        self._chance: Final = random.Random(number)
        self._catalogue: Final = Catalogue(Items(size=len(archived.texts), zipf=_ZIPF), 0, 0)
        self._new_every: Final = _NEW_AT_ONCE / new_per_second if new_per_second else float("inf")
        self._new_at = time.monotonic() + self._new_every
        self._new: Final[deque[str]] = deque(maxlen=_NEW_REMEMBERED)
        self._first: Final[dict[str, bytes]] = {}
        self._made = 0
        self._connection: Connection | None = None
        self.seen: Final = Seen()

    def run(self, ends: float, count: Callable[[], None]) -> Seen:
        """Ask until `ends`, in monotonic seconds; `count` is told of each answer."""
        while (now := time.monotonic()) < ends:
            try:
                if now >= self._new_at:
                    self._new_at = now + self._new_every
                    self._ask_new()
                else:
                    self._ask_archived()
                count()
            except (OSError, ValueError, KeyError) as error:
                self._disconnect()
                self.seen.errors.append((time.monotonic(), f"{type(error).__name__}: {error}"))
                time.sleep(_AGAIN_SECONDS)
        self._disconnect()
        return self.seen

    def _ask_archived(self) -> None:
        items = self._catalogue.pick(0, _ITEMS, self._rng)
        form = self._chance.random()
        if form < 0.9:
            path = f"/v1/lookup?model={self._archived.model}&generation={self._archived.generation}"
            body = self._archived.digests[items].tobytes()
            statuses, vectors = self._rows(self._send(post(path, body, KEYS_HEADERS)))
        else:
            texts = [self._archived.texts[item] for item in items]
            statuses, vectors = self._texts(texts, in_json=form < 0.95)
        self.check(items, statuses, vectors)

    def check(
        self,
        items: Sequence[int],
        statuses: npt.NDArray[np.uint8],
        vectors: npt.NDArray[np.floating[Any]],
    ) -> None:
        """Compare an answer with what is archived."""
        hits = statuses == Status.HIT
        differ = (vectors != self._archived.vectors[items]).any(axis=1)
        for place in np.flatnonzero(hits & differ).tolist():
            self._note_wrong(f"the vector of archived text {items[place]} is another")
        self.seen.vectors += int(hits.sum())
        self.seen.missing += len(items) - int(hits.sum())

    def _ask_new(self) -> None:
        for _ in range(_NEW_AT_ONCE):
            self._new.append(f"a new text, the {self._made}th of client {self._number}")
            self._made += 1
        texts = list(self._new)[-_NEW_AT_ONCE:]
        texts += self._chance.sample(self._new, min(len(self._new), _NEW_AT_ONCE))
        statuses, vectors = self._texts(texts, in_json=False)
        for text, status, vector in zip(texts, statuses, vectors, strict=True):
            if status == Status.HIT:
                first = self._first.setdefault(text, vector.tobytes())
                if first != vector.tobytes():
                    self._note_wrong(f"the vector of {text!r} has changed")
        self.seen.computed = len(self._first)

    def _texts(self, texts: Sequence[str], *, in_json: bool) -> Rows:
        fields = {"model": self._archived.model, "items": [{"text": one} for one in texts]}
        if not in_json:
            body = json.dumps(fields).encode()
            return self._rows(
                self._send(post("/v1/lookup", body, {**_JSON, "Accept": VECTORS_TYPE}))
            )
        body = json.dumps({**fields, "encoding": "base64"}).encode()
        answered = json.loads(self._send(post("/v1/lookup", body, _JSON)))["items"]
        hits = [Status.HIT if one["status"] == "hit" else Status.OOV for one in answered]
        rows = [np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in answered]
        return np.array(hits, np.uint8), np.stack(rows)

    def _rows(self, answer: bytes) -> Rows:
        dimension = self._archived.vectors.shape[1]
        count = len(answer) // (2 * dimension + 1)
        vectors = np.frombuffer(answer, "<f2", count * dimension).reshape(count, dimension)
        return np.frombuffer(answer, np.uint8, count, vectors.nbytes), vectors

    def _send(self, request: bytes) -> bytes:
        if self._connection is None:
            self._connection = Connection("127.0.0.1", self._port)
        self._connection.send(request)
        answer = bytes(self._connection.receive())
        if self._connection.closes:
            self._disconnect()
        return answer

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _note_wrong(self, what: str) -> None:
        if len(self.seen.wrong) < _MOST_KEPT:
            self.seen.wrong.append(what)


def share(counters: Any) -> None:
    """Take the array, shared by all processes, in which each client counts its answers."""
    global _counters  # noqa: PLW0603 - how a process of a pool is given what is shared
    _counters = counters


def ask_until(
    port: int, archived: Archived, number: int, new_per_second: float, ends: float
) -> Seen:
    """Be client `number` until `ends`; for a process of a pool that was given `share`."""

    def count() -> None:
        _counters[number] += 1

    return Client(port, archived, number, new_per_second).run(ends, count)
