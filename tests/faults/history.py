"""A steady load with a history, and the check of it, in the way of Jepsen.

What is checked: every `hit` is the deterministic vector of its input and generation; every request
that was accepted ends as a hit or as failed; no lookup is answered 5xx. How long lookups take is
told, not asserted.
"""

from __future__ import annotations

import base64
import bisect
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import httpx
import numpy as np

from export.reference import Reference
from export.verification import cosines
from tests.support.stack import wait_until
from tests.support.threads import Threads

MODEL = "minilm"
BATCH = 8
NEW_SHARE = 0.05
ZIPF = 1.1
TIMEOUT_S = 8.0
MIN_COSINE = 0.9999


@dataclass
class Tally:
    """What was seen of one round."""

    requests: int = 0
    accepted: set[str] = field(default_factory=set)
    unanswered: int = 0
    server_errors: int = 0
    slowest_s: float = 0.0
    seconds: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)


class Load(Threads):
    """Threads that look texts up: known ones by Zipf's law, and new ones now and then.

    Args:
        urls: gateways, used in turn; one that does not answer is counted, and the next one used.
        tag: makes this load's texts its own.
        threads: how many.
        pause_s: between two lookups of a thread.
    """

    def __init__(
        self, urls: Sequence[str], tag: str, threads: int = 3, pause_s: float = 0.1
    ) -> None:
        self._urls = itertools.cycle(urls)
        self._tag = tag
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._texts: list[str] = [f"{tag} {number}" for number in range(200)]
        weights = [1 / (rank + 1) ** ZIPF for rank in range(4000)]
        self._cumulative = list(itertools.accumulate(weights))
        self.tally = Tally()
        self.generations: set[str] = set()
        # Every distinct vector that was returned as a hit, by text.
        self.vectors: dict[str, set[bytes]] = {}
        # Texts that were answered as hit or failed.
        self.ended: set[str] = set()
        rngs = [random.Random(f"{tag}{number}") for number in range(threads)]
        super().__init__([partial(self._run, rng) for rng in rngs])

    def look_up(self, client: httpx.Client, texts: Sequence[str], on_miss: str = "oov") -> bool:
        """One lookup, noted in the history; returns whether it was answered."""
        with self._lock:
            url = next(self._urls)
        body = {"model": MODEL, "items": list(texts), "encoding": "base64", "on_miss": on_miss}
        started = time.monotonic()
        try:
            answer = client.post(f"{url}/v1/lookup", json=body)
        except httpx.HTTPError:
            with self._lock:
                self.tally.requests += 1
                self.tally.unanswered += 1
            return False
        took = time.monotonic() - started
        with self._lock:
            self._note(answer, texts, took)
        return True

    def _run(self, rng: random.Random) -> None:
        with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
            while not self.stopping.is_set():
                self.look_up(client, [self._choose(rng) for _ in range(BATCH)])
                self.stopping.wait(self._pause_s * rng.uniform(0.5, 1.5))

    def _choose(self, rng: random.Random) -> str:
        with self._lock:
            if rng.random() < NEW_SHARE:
                self._texts.append(f"{self._tag} {len(self._texts)}")
                return self._texts[-1]
            count = min(len(self._texts), len(self._cumulative))
            at = bisect.bisect(self._cumulative, rng.random() * self._cumulative[count - 1])
            return self._texts[min(at, count - 1)]

    def _note(self, answer: httpx.Response, texts: Sequence[str], took: float) -> None:
        tally = self.tally
        tally.requests += 1
        tally.slowest_s = max(tally.slowest_s, took)
        tally.seconds.append(took)
        if answer.status_code != 200:
            tally.server_errors += answer.status_code >= 500
            assert answer.status_code >= 500, answer.text
            return
        for text, item in zip(texts, answer.json()["items"], strict=True):
            tally.statuses[item["status"]] += 1
            if item.get("queued"):
                tally.accepted.add(text)
            if item["status"] in ("hit", "failed"):
                self.ended.add(text)
            if item["status"] == "hit":
                self.generations.add(item["generation"])
                self.vectors.setdefault(text, set()).add(base64.b64decode(item["embedding"]))


def lost(load: Load, settle_s: float) -> int:
    """Wait until what was accepted has ended as hit or failed; returns how much did not."""
    pending = set(load.tally.accepted)
    with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:

        def all_ended() -> bool:
            for start in range(0, len(rest := sorted(pending)), 100):
                _poll(load, client, rest[start : start + 100], pending)
            return not pending

        try:
            wait_until(all_ended, settle_s, "all accepted have ended")
        except AssertionError:
            print("not ended:", sorted(pending)[:10])
    return len(pending)


def wrong(load: Load, reference: Reference) -> int:
    """Compare every hit with PyTorch's vector; returns how many are not their input's."""
    pairs = [(text, vector) for text, found in load.vectors.items() for vector in found]
    if load.generations - {reference.facts.generation}:
        return len(pairs)
    bad = 0
    for start in range(0, len(pairs), 256):
        part = pairs[start : start + 256]
        expected = reference.embed([text.encode() for text, _ in part])
        found = np.stack([np.frombuffer(vector, "<f4") for _, vector in part])
        bad += int((cosines(found, expected) < MIN_COSINE).sum())
    return bad


def _poll(load: Load, client: httpx.Client, texts: Sequence[str], pending: set[str]) -> None:
    if load.look_up(client, texts, "skip"):
        pending.difference_update(text for text in texts if text in load.ended)
