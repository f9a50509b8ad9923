"""Sends the pictures that were looked up by key and are not in the archive, behind the answers.

A key alone cannot be computed, and a request must not wait until a picture is read and sent.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from typing import Final

from embark.client import Client
from embark.errors import ServiceError
from examples.ctr.serving.inputs import ItemInputs

_WAITING = 1024
_BATCH = 16
_AGAIN_SECONDS = 10.0


class MissingPictures:
    """One thread with a bounded list of pictures to send.

    Args:
        client: for EmbArk; not closed here.
        inputs: where pictures are.
        model: the model of pictures.
    """

    def __init__(self, client: Client, inputs: ItemInputs, model: str) -> None:
        self._client: Final = client
        self._inputs: Final = inputs
        self._model: Final = model
        self._waiting: Final[queue.Queue[int | None]] = queue.Queue(_WAITING)
        self._sent_at: dict[int, float] = {}
        self._thread: Final = threading.Thread(target=self._run, name="missing", daemon=True)
        self._thread.start()

    def ask(self, items: Sequence[int]) -> None:
        """Have pictures sent; one that does not fit is asked again at its next lookup."""
        now = time.monotonic()
        for item in items:
            if now - self._sent_at.get(item, -_AGAIN_SECONDS) < _AGAIN_SECONDS:
                continue
            try:
                self._waiting.put_nowait(item)
            except queue.Full:
                return
            self._sent_at[item] = now

    def close(self) -> None:
        """Send what is being sent, and end; idempotent."""
        while self._thread.is_alive():
            try:
                self._waiting.put(None, timeout=0.1)
                break
            except queue.Full:
                self._forget()
        self._thread.join()

    def _forget(self) -> None:
        try:
            self._waiting.get_nowait()
        except queue.Empty:
            return

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            items = [item]
            while len(items) < _BATCH and not self._waiting.empty():
                following = self._waiting.get()
                if following is None:
                    return
                items.append(following)
            try:
                self._client.lookup([self._inputs.picture(one) for one in items], self._model)
            except ServiceError:
                # EmbArk is down: the next lookup of these items asks again.
                for one in items:
                    self._sent_at.pop(one, None)
