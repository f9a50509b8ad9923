"""A gate before Retina: closed until Triton has loaded its models, and again while it is down.

An outage would else use up the attempts of every request that is waiting.
"""

from __future__ import annotations

import threading
from typing import Final

from embark.log import logger
from embark.metrics import CONSUMERS
from embark.retina import Retina

_PROBE_SECONDS = 0.25
_WATCH_SECONDS = 1.0

_log = logger(__name__)


class Gate:
    """Open while Retina is ready. Starts closed; safe for many threads."""

    def __init__(self, retina: Retina) -> None:
        self._retina: Final = retina
        self._open = threading.Event()
        self._suspected = threading.Event()
        # Held from the look at `_suspected` to the opening, lest a suspicion falls in between.
        self._lock = threading.Lock()
        self._closing = False
        self._suspected.set()
        _tell(ready=False)
        self._prober = threading.Thread(target=self._probe, name="gate", daemon=True)
        self._prober.start()

    def pass_through(self) -> bool:
        """Wait until Retina is ready; False if the gate was closed for good meanwhile."""
        self._open.wait()
        return not self._closing

    def suspect(self) -> None:
        """Shut the gate until Retina has been seen ready: a call to it has just failed."""
        with self._lock:
            self._open.clear()
            self._suspected.set()

    def close(self) -> None:
        """Let nobody through any more; idempotent."""
        self._closing = True
        self._suspected.set()
        self._prober.join()
        self._open.set()

    def _probe(self) -> None:
        waited = False
        while not self._closing:
            if not self._suspected.wait(_WATCH_SECONDS):
                # Told, not acted upon: only a call that failed shuts the gate.
                _tell(ready=self._retina.ready())
                continue
            self._suspected.clear()
            while not self._closing and not self._retina.ready():
                if not waited:
                    _log.warning("waiting_for_retina")
                    _tell(ready=False)
                waited = True
                self._suspected.wait(_PROBE_SECONDS)
                self._suspected.clear()
            if waited and not self._closing:
                _log.info("retina_ready")
            waited = False
            with self._lock:
                if not self._suspected.is_set():
                    self._open.set()
                    _tell(ready=True)


def _tell(*, ready: bool) -> None:
    CONSUMERS.labels(retina="ready").set(ready)
    CONSUMERS.labels(retina="away").set(not ready)
