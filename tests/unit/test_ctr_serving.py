"""The scoring service without EmbArk, and with one that never answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from flask.testing import FlaskClient

from embark.client import Client
from embark.inputs import image_input
from embark.keys import digest
from examples.ctr import catalogue as catalogues
from examples.ctr.serving.app import create_app
from examples.ctr.serving.inputs import ItemInputs, picture_digests
from examples.ctr.serving.missing import MissingPictures
from examples.ctr.serving.service import ScoringService

ITEMS = 6
_CATALOGUE = catalogues.generate(ITEMS, 1, 1)
_Floats = npt.NDArray[np.float32]
_Flags = npt.NDArray[np.bool_]


class Double:
    """Scores an item by its number, and by whether its vectors are there."""

    text_model, image_model = "text", "image"
    text_dimension, image_dimension = 4, 8

    def score(  # noqa: PLR0917 - as the scorer has it
        self,
        user: int,
        items: npt.NDArray[np.int64],
        text: _Floats,
        text_hit: _Flags,
        image: _Floats,
        image_hit: _Flags,
    ) -> _Floats:
        assert text.shape == (len(items), 4) and image.shape == (len(items), 8)
        scores: _Floats = (items + 100.0 * text_hit + 1000.0 * image_hit).astype(np.float32)
        return scores


@contextmanager
def opened(url: str, folder: Path) -> Iterator[FlaskClient]:
    digests = picture_digests(_CATALOGUE, folder / "keys.npy", lambda done, total: None)
    inputs = ItemInputs(_CATALOGUE, digests, "image", "0" * 16)
    patient = Client(url, retries=0)
    service = ScoringService(
        Double(),
        inputs,
        Client(url, timeout_s=0.2, retries=0),
        MissingPictures(patient, inputs, "image"),
        0.2,
        2,
    )
    try:
        yield create_app(service).test_client()
    finally:
        service.close()
        service.close()
        patient.close()


@pytest.fixture
def deaf() -> Iterator[str]:
    """A service that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def gone() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("url", ["deaf", "gone"])
def test_every_candidate_is_scored_when_embark_does_not_answer(
    url: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with opened(request.getfixturevalue(url), tmp_path) as client:
        answer = client.post("/score", json={"user": 0, "items": [4, 2]})
    assert answer.status_code == 200
    assert answer.json is not None
    assert answer.json["items"] == [
        {"id": 4, "ctr": 4.0, "text": "late", "image": "late"},
        {"id": 2, "ctr": 2.0, "text": "late", "image": "late"},
    ]
    assert answer.json["found"] == {"text": {"late": 2}, "image": {"late": 2}}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body must read"),
        (b"[]", "the body must read"),
        (b'{"user": 0}', "the body must read"),
        (b'{"user": -1, "items": [0]}', "user must be a number from 0, not -1"),
        (b'{"user": true, "items": [0]}', "user must be"),
        (b'{"user": 0, "items": []}', "1 to 1000"),
        (b'{"user": 0, "items": [6]}', "item 6 is not in the catalogue, which has 0 to 5"),
        (b'{"user": 0, "items": ["0"]}', "item '0' is not"),
    ],
)
def test_a_wrong_request_is_refused(gone: str, tmp_path: Path, body: bytes, said: str) -> None:
    with opened(gone, tmp_path) as client:
        answer = client.post("/score", data=body)
    assert answer.status_code == 400
    assert answer.json is not None
    assert said in answer.json["error"]["message"]


def test_digests_are_kept_and_made_again_for_another_catalogue(tmp_path: Path) -> None:
    file, rendered = tmp_path / "keys.npy", list[int]()

    def digests(catalogue: catalogues.Catalogue) -> list[bytes]:
        return picture_digests(catalogue, file, lambda done, total: rendered.append(done))

    expected = [digest(image_input(_CATALOGUE.picture(item))) for item in range(ITEMS)]
    assert digests(_CATALOGUE) == expected and len(rendered) == ITEMS
    assert digests(_CATALOGUE) == expected and len(rendered) == ITEMS
    assert digests(catalogues.generate(ITEMS, 1, 2)) != expected
