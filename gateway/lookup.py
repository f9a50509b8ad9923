"""The way of a lookup: keys → L1 → archive → hits, and for the rest the out-of-vocabulary vector.

Never waits for a model. Waits for the archive up to its deadline, and longer only if the caller
asks for it (`on_miss: wait`), within a bound on how many may.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np

from embark import tracing
from embark.archive import LATE, MISSING, Answer, Archive, now_ms
from embark.codec import Embedding, Failure
from embark.errors import ArchiveUnavailable
from embark.inputs import InputKind
from embark.keys import Key
from embark.log import Seldom, logger
from embark.metrics import (
    ARCHIVE_ERRORS,
    ARCHIVE_READ,
    LOOKUP_BATCH,
)
from embark.models import Model
from embark.queue.base import Lane, Request
from embark.settings import GatewaySettings
from embark.store.base import Absent
from embark.usage import Usage
from gateway.counts import count_results
from gateway.items import Item
from gateway.l1 import L1, packed
from gateway.l1.keeping import keep
from gateway.misses import Misses
from gateway.turns import aside, waits_on_purpose

ON_MISS = ("oov", "wait", "skip")

_FIRST_POLL_SECONDS = 0.004
_LAST_POLL_SECONDS = 0.05

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """What a lookup says about one item.

    Attributes:
        item: the item.
        record: its vector or remembered failure, None if out of vocabulary.
        queued: whether an out-of-vocabulary item is known to be in the queue.
    """

    item: Item
    record: Embedding | Failure | None
    queued: bool

    @property
    def status(self) -> str:
        """`hit`, `failed` or `oov`."""
        if isinstance(self.record, Embedding):
            return "hit"
        return "oov" if self.record is None else "failed"


class Lookups:
    """Answers lookups of one gateway process. Safe for many threads.

    Args:
        archive: where vectors are.
        misses: takes what is missing.
        usage: counts what is asked.
        settings: deadlines and bounds.
        refresh_s: age from which a vector of an image URL is checked again; 0 for never.
        l1: the vectors in memory.
    """

    def __init__(
        self,
        archive: Archive,
        misses: Misses,
        usage: Usage,
        settings: GatewaySettings,
        *,
        refresh_s: float,
        l1: L1,
    ) -> None:
        self._l1: Final = l1
        self._archive: Final = archive
        self._misses: Final = misses
        self._usage: Final = usage
        self._refresh_ms: Final = refresh_s * 1000
        self._timeout_s: Final = settings.archive_timeout_ms / 1000
        # Threads must be left for those who do not wait.
        waiting = min(settings.max_waiting, settings.threads // 2)
        self._waiting = threading.BoundedSemaphore(waiting or 1)
        self._may_wait: Final = waiting > 0
        self._seldom = Seldom()

    def run(
        self,
        items: Sequence[Item],
        on_miss: str,
        wait_ms: int = 0,
        lane: Lane = Lane.INTERACTIVE,
        within_s: float | None = None,
    ) -> list[Result]:
        """Look items up; the results are in their order.

        Args:
            items: may repeat and mix models; each distinct key is read and queued once.
            on_miss: one of `ON_MISS`.
            wait_ms: for `wait`, the longest wait for missing vectors.
            lane: where what is missing is queued.
            within_s: how long the archive may be waited for, None for as long as ever.
        """
        LOOKUP_BATCH.observe(len(items))
        self._usage.count({item.key for item in items})
        return self.answer(items, on_miss, wait_ms, lane, within_s)

    def answer(
        self,
        items: Sequence[Item],
        on_miss: str,
        wait_ms: int = 0,
        lane: Lane = Lane.INTERACTIVE,
        within_s: float | None = None,
    ) -> list[Result]:
        """As `run`, for a part of a request that is counted already."""
        ends = math.inf if within_s is None else time.monotonic() + within_s
        wanted = _distinct(items)
        answers = self._held(wanted.values())
        in_l1 = frozenset(answers)
        if len(in_l1) < len(wanted):
            rest = [item for key, item in wanted.items() if key not in in_l1]
            answers |= self._read(rest, ends)
            # What memory would have read again is better than nothing.
            late = [item for item in rest if answers[item.key] is LATE]
            answers |= (kept := self._held(late, of_any_age=True))
            in_l1 = in_l1.union(kept)
        queued: set[Key] = set()
        if on_miss == "wait":
            queued = self._queue_and_wait(wanted, answers, lane, wait_ms / 1000, ends)
        elif on_miss == "oov":
            queued = self._queue(wanted, answers, lane)
        aged = self._aged(wanted, answers) if self._refresh_ms and on_miss != "skip" else {}
        self._misses.found(
            key for key, answer in answers.items() if _is_record(answer) and key not in aged
        )
        if aged:
            self._misses.ask(list(aged.values()), 0)
        results = [_result(item, answers[item.key], item.key in queued) for item in items]
        count_results(results, answers, in_l1)
        return results

    def _held(self, items: Iterable[Item], *, of_any_age: bool = False) -> dict[Key, Answer]:
        """Return what is in memory."""
        answers: dict[Key, Answer] = {}
        for group in _by_model(items):
            digests = packed(item.key.digest for item in group)
            held = self._l1.get_many(group[0].model, digests, of_any_age=of_any_age)
            for position in np.flatnonzero(held.found).tolist():
                written_ms = int(held.written_ms[position])
                answers[group[position].key] = Embedding(held.vectors[position], written_ms)
        return answers

    def _read(self, items: Iterable[Item], ends: float) -> dict[Key, Answer]:
        """Return what the archive has, and keep it in memory."""
        deadline = min(ends, time.monotonic() + self._timeout_s)
        answers: dict[Key, Answer] = {}
        with ARCHIVE_READ.time(), tracing.step("archive.read", kind="client"):
            for group in _by_model(items):
                remaining = max(0.001, deadline - time.monotonic())
                found = self._read_model(group[0].model, group, remaining)
                answers.update(zip((item.key for item in group), found, strict=True))
                keep(self._l1, group[0].model, [item.key.digest for item in group], found)
        return answers

    def _read_model(self, model: Model, group: Sequence[Item], timeout_s: float) -> list[Answer]:
        try:
            digests = [item.key.digest for item in group]
            with aside():
                return self._archive.get_many(model, digests, timeout_s)
        except ArchiveUnavailable as error:
            ARCHIVE_ERRORS.labels(operation="read").inc()
            tracing.fail(error.code)
            if self._seldom.due():
                _log.warning("archive_unavailable", items=len(group), reason=error.message)
            return [LATE] * len(group)

    def _queue(
        self,
        wanted: dict[Key, Item],
        answers: dict[Key, Answer],
        lane: Lane,
        patience_s: float | None = None,
    ) -> set[Key]:
        """Have missing items queued; return the keys known to be in the queue."""
        missing = [item for key, item in wanted.items() if answers[key] is MISSING]
        requests = [
            Request(item.key, item.content, lane) for item in missing if item.content is not None
        ]
        bare = {item.key for item in missing if item.content is None}
        queued = {key for key in bare if self._misses.in_flight(key)}
        if requests:
            accepted = self._misses.ask(requests, patience_s)
            queued.update(request.key for request, ok in zip(requests, accepted, strict=True) if ok)
        return queued

    def _aged(self, wanted: dict[Key, Item], answers: dict[Key, Answer]) -> dict[Key, Request]:
        """Return the requests, as bulk work, for URLs whose vectors have come of age."""
        oldest_ms = now_ms() - self._refresh_ms
        return {
            key: Request(key, item.content, Lane.BULK)
            for key, item in wanted.items()
            if item.content is not None
            and item.content.kind is InputKind.IMAGE_URL
            and isinstance(answer := answers[key], Embedding)
            and answer.written_ms < oldest_ms
        }

    def _queue_and_wait(
        self,
        wanted: dict[Key, Item],
        answers: dict[Key, Answer],
        lane: Lane,
        wait_s: float,
        ends: float,
    ) -> set[Key]:
        """Queue missing items, and read again until all have a record or the time is up."""
        if not any(answer is MISSING or answer is LATE for answer in answers.values()):
            return set()
        deadline = time.monotonic() + wait_s
        pause = _FIRST_POLL_SECONDS
        with self._slot() as granted:
            if granted:
                waits_on_purpose()
            queued = self._queue(wanted, answers, lane, wait_s if granted else None)
            late = {key for key, answer in answers.items() if answer is LATE}
            while granted and (queued or late) and (remaining := deadline - time.monotonic()) > 0:
                with aside():
                    time.sleep(min(pause, remaining))
                pause = min(pause * 1.3, _LAST_POLL_SECONDS)
                again = self._read((wanted[key] for key in queued | late), ends)
                answers |= {key: one for key, one in again.items() if one is not LATE}
                found = {key for key, one in again.items() if _is_record(one)}
                missing = {key: wanted[key] for key in late if again[key] is MISSING}
                queued = (queued | self._queue(missing, answers, lane, remaining)) - found
                late -= found | missing.keys()
        return queued

    @contextmanager
    def _slot(self) -> Iterator[bool]:
        granted = self._may_wait and self._waiting.acquire(blocking=False)
        try:
            yield granted
        finally:
            if granted:
                self._waiting.release()


def _by_model(items: Iterable[Item]) -> Iterable[list[Item]]:
    by_model: dict[str, list[Item]] = {}
    for item in items:
        by_model.setdefault(item.key.model, []).append(item)
    return by_model.values()


def _distinct(items: Sequence[Item]) -> dict[Key, Item]:
    """Return one item for each key, with its content if any of them brought it."""
    distinct: dict[Key, Item] = {}
    for item in items:
        if item.content is not None or item.key not in distinct:
            distinct[item.key] = item
    return distinct


def _is_record(answer: Answer) -> bool:
    return not isinstance(answer, Absent)


def _result(item: Item, answer: Answer, queued: bool) -> Result:
    record = None if isinstance(answer, Absent) else answer
    return Result(item, record, queued and record is None)
