"""The catalogue as it is now: follows the model repository and what was decided about generations.

A gateway asks for it once a request, so that one answer is of one view; a consumer once a batch.
What is live changes for all within `retina.follow_seconds`, without a restart.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embark.errors import ArchiveUnavailable, ConfigurationError
from embark.generations import Generations, State, assemble, missing
from embark.log import Seldom, logger
from embark.metrics import LIVE_GENERATION
from embark.models import Catalogue, Model, exported_models, load_exported
from embark.store.ledger import Ledger

_GIVE_WAY_SECONDS = 0.0005

_log = logger(__name__)


@dataclass(frozen=True)
class _View:
    """What a catalogue is made of: the versions of each model's folder, and the decisions."""

    versions: Mapping[str, Sequence[int]]
    states: Mapping[str, State]


class Following:
    """The current catalogue. Safe for many threads; made after fork.

    While the ledger cannot be read, what was last decided stands; if it never could, the generation
    that was exported first.

    Args:
        repository: model repository.
        ledger: where decisions are.
        every_s: how often to look.

    Raises:
        ConfigurationError: no model is exported.
    """

    def __init__(self, repository: Path, ledger: Ledger, every_s: float) -> None:
        self._repository: Final = repository
        self._generations: Final = Generations(ledger)
        self._every_s: Final = every_s
        self._seldom = Seldom()
        self._catalogue = Catalogue({})
        self._overdue_at = time.monotonic() + 2 * every_s
        self._view = self._load(self._look({}))
        self._closed = threading.Event()
        self._follower = threading.Thread(target=self._follow, name="following", daemon=True)
        self._follower.start()

    @property
    def current(self) -> Catalogue:
        """The catalogue as last seen."""
        if time.monotonic() > self._overdue_at:
            # Busy threads can keep the interpreter's lock from one that reads files for seconds.
            time.sleep(_GIVE_WAY_SECONDS)
        return self._catalogue

    def is_retired(self, model: str, generation: str) -> bool:
        """Whether it was decided that a generation is served no more."""
        state = self._view.states.get(model)
        return state is not None and generation in state.retired

    def refresh(self) -> None:
        """Look now.

        Raises:
            ConfigurationError: the repository cannot be read.
        """
        view = self._look(self._view.states)
        if view != self._view:
            self._view = self._load(view)

    def close(self) -> None:
        """Stop following; idempotent."""
        self._closed.set()
        self._follower.join()

    def _follow(self) -> None:
        while not self._closed.wait(self._every_s):
            self._overdue_at = time.monotonic() + self._every_s
            try:
                self.refresh()
            except ConfigurationError as error:
                # Half of a copy, perhaps: what was there is still served.
                if self._seldom.due():
                    _log.error("repository_not_read", reason=error.message)
            except Exception:
                # Whatever is wrong, this thread must not end.
                _log.exception("following_failed")
            self._overdue_at = time.monotonic() + 2 * self._every_s
        self._overdue_at = float("inf")

    def _look(self, last: Mapping[str, State]) -> _View:
        versions = exported_models(self._repository)
        try:
            return _View(versions, self._generations.states(versions))
        except ArchiveUnavailable as error:
            if self._seldom.due():
                _log.warning("generations_not_read", reason=error.message)
            return _View(versions, last)

    def _load(self, view: _View) -> _View:
        exported = load_exported(self._repository)
        for name, generation in missing(exported, view.states).items():
            _log.error(
                "live_generation_missing",
                model=name,
                generation=generation,
                reason="it is not in this model repository; another one is served",
            )
        before, self._catalogue = dict(self._catalogue), assemble(exported, view.states)
        for name, model in self._catalogue.items():
            _report(before.get(name), model)
        return view


def _report(before: Model | None, now: Model) -> None:
    if before is not None and before.generation == now.generation:
        return
    _log.info("generation_live", model=now.name, generation=now.generation)
    if before is not None:
        LIVE_GENERATION.labels(model=now.name, generation=before.generation).set(0)
    LIVE_GENERATION.labels(model=now.name, generation=now.generation).set(1)
