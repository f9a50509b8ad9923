"""Brings all vectors of a catalogue, and says which items have none and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embark.client import Client, ImageUrl, Sendable
from embark.duplicates import anchors
from embark.duplicates.fetching import Load, fetch
from embark.duplicates.finding import Report, Side
from embark.duplicates.items import Catalogue, is_url
from embark.duplicates.space import Space
from embark.duplicates.work import Shelf
from embark.errors import BadRequest
from embark.inputs import Modality

_ENOUGH_WITHOUT_ANCHORS = 1000

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Limits:
    """How vectors are brought.

    Attributes:
        folder: the work folder.
        image_bytes: largest picture that is sent.
        patience_s: how long to wait with nothing coming.
        retry_failed: whether what failed in an earlier run is asked again.
    """

    folder: Path
    image_bytes: int
    patience_s: float
    retry_failed: bool


@dataclass(frozen=True)
class Vectors:
    """What has come.

    Attributes:
        text: None if no item has a text's vector.
        image: None if no item has a picture's vector.
        models: name and generation by modality.
        problems: a sentence for each input that has none.
    """

    text: Side | None
    image: Side | None
    models: dict[str, dict[str, str]]
    problems: list[str]


def bring(
    client: Client,
    catalogue: Catalogue,
    models: Mapping[Modality, dict[str, Any] | None],
    limits: Limits,
    report: Report,
) -> Vectors:
    """Fetch what is not yet in the work folder.

    Args:
        client: of the service.
        catalogue: whose vectors.
        models: by modality, as `Client.models` describes them; None where there is none.
        limits: see there.
        report: is told how far it is.

    Raises:
        Unavailable, ConfigurationError, ServiceError: see `embark.duplicates.fetching.fetch`.
        BadRequest: the catalogue has no item, or texts or pictures only and there is no model for
            them.
    """
    if not catalogue.items:
        raise BadRequest("the catalogue has no item", code="empty_catalogue")
    sides: dict[Modality, Side | None] = {}
    used: dict[str, dict[str, str]] = {}
    problems: list[str] = []
    for modality, model in models.items():
        values = [
            item.text if modality is Modality.TEXT else item.image for item in catalogue.items
        ]
        if model is None or not any(values):
            sides[modality] = None
            continue
        one = _Modality(client, catalogue, model, limits, report)
        sides[modality] = one.side(modality, values, problems)
        used[modality.value] = {"model": model["name"], "generation": model["generation"]}
    if not used:
        raise BadRequest("the service has no model for what the catalogue has", code="no_model")
    return Vectors(sides[Modality.TEXT], sides[Modality.IMAGE], used, problems)


class _Modality:
    def __init__(
        self,
        client: Client,
        catalogue: Catalogue,
        model: dict[str, Any],
        limits: Limits,
        report: Report,
    ) -> None:
        self._client = client
        self._catalogue = catalogue
        self._model = model
        self._limits = limits
        self._report = report

    def side(self, modality: Modality, values: Sequence[str], problems: list[str]) -> Side | None:
        """Return the vectors of each item's text or picture; None if there is none at all."""
        distinct = list(dict.fromkeys(value for value in values if value))
        if modality is Modality.TEXT:
            shelf = self._filled("text vectors", distinct, lambda row: distinct[row])
        else:
            names = [self._version(image) for image in distinct]
            shelf = self._filled("image vectors", names, lambda row: self._image(distinct[row]))
        here = shelf.here()
        number = {value: row for row, value in enumerate(distinct)}
        rows = np.array([number.get(value, -1) for value in values], np.int64)
        for item, row in enumerate(rows.tolist()):
            if row >= 0 and not here[row]:
                _, message = shelf.failures.get(row, ("", "it failed"))
                name = self._catalogue.items[item].id
                problems.append(f"{name!r} is compared without its {modality.value}: {message}")
        rows[rows >= 0] = np.where(here[rows[rows >= 0]], rows[rows >= 0], -1)
        usable = np.flatnonzero(here)
        if not len(usable):
            return None
        return Side(Space(shelf.vectors, usable, self._anchors(modality, len(usable))), rows)

    def _filled(self, stage: str, names: Sequence[str], of_row: Load) -> Shelf:
        shelf = Shelf(self._limits.folder, self._model, names)
        if self._limits.retry_failed:
            shelf.retry_failures()

        def report(done: int, total: int) -> None:
            self._report(stage, done, total)

        fetch(self._client, shelf, of_row, report, self._limits.patience_s)
        return shelf

    def _anchors(self, modality: Modality, count: int) -> npt.NDArray[np.float32]:
        """Return vectors of other inputs, none if the catalogue's own are many."""
        if count >= _ENOUGH_WITHOUT_ANCHORS:
            return np.empty((0, int(self._model["dimension"])), np.float32)
        is_text = modality is Modality.TEXT
        inputs: Sequence[Sendable] = anchors.texts() if is_text else anchors.pictures()
        names = [f"anchor {number}" for number in range(len(inputs))]
        shelf = self._filled(f"{modality.value} anchors", names, lambda row: inputs[row])
        found: npt.NDArray[np.float32] = shelf.vectors[shelf.here()].astype(np.float32)
        return found

    def _version(self, image: str) -> str:
        """Return a picture's name with what changes when its file does."""
        try:
            state = (self._catalogue.path.parent / image).stat()
        except (OSError, ValueError):
            return image
        return f"{image}:{state.st_size}:{state.st_mtime_ns}"

    def _image(self, image: str) -> Sendable:
        if is_url(image):
            return ImageUrl(image)
        path = self._catalogue.path.parent / image
        try:
            if path.stat().st_size > self._limits.image_bytes:
                raise BadRequest(f"{image} has more than {self._limits.image_bytes} bytes")
            return path.read_bytes()
        except OSError as error:
            raise BadRequest(f"{image} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise BadRequest(f"{image!r} is no path: {error}") from None
