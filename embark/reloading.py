"""Has a running Triton load versions as they are exported, and unload them as they are retired.

For the Triton that `embark up` runs. One that runs elsewhere loads new versions when it is started
anew, replica by replica: docs/operations.md.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from embark.child import Report
from embark.errors import RetinaUnavailable
from embark.log import Seldom
from embark.models import exported_models
from embark.triton import load_model

_LOOK_SECONDS = 1.0


class Reloader:
    """Follows a model repository for one Triton.

    Args:
        repository: model repository.
        url: Triton's HTTP endpoint.
        report: told what is loaded.
    """

    def __init__(self, repository: Path, url: str, report: Report) -> None:
        self._repository: Final = repository
        self._url: Final = url
        self._report: Final = report
        self._seldom = Seldom()
        self._loaded = exported_models(repository)

    def run(self, stop: threading.Event) -> None:
        """Follow until `stop` is set. Triton has loaded what was there when this was made."""
        while not stop.wait(_LOOK_SECONDS):
            for name, versions in exported_models(self._repository).items():
                if self._loaded.get(name) != versions:
                    self._load(name, versions)

    def _load(self, name: str, versions: list[int]) -> None:
        try:
            # The encoder first: a front that is there before it would fail.
            for one in (f"{name}_encoder", name):
                load_model(self._url, one)
        except RetinaUnavailable as error:
            if self._seldom.due():
                self._report(error.message)
            return
        self._loaded[name] = versions
        self._report(f"retina serves {name}, versions {', '.join(map(str, versions))}")
