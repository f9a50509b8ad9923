"""L1 in real gateways on one archive: apart from it, told of invalidations, warmed at the start."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import pytest

from embark.archive import Archive, now_ms
from embark.backends import Backends, open_backends
from embark.client import Client, ImageUrl
from embark.codec import encode_embedding
from embark.config import load
from embark.inputs import image_url_input, text_input
from embark.invalidation import Invalidation
from embark.keys import Key, digest
from embark.models import Catalogue
from embark.ports import free_port
from embark.queue.base import LaneStatus
from embark.settings import Settings
from tests.support.gateway import vector_of
from tests.support.models import DIMENSION, GENERATION, catalogue
from tests.support.stack import wait_until

TEXTS = [f"text {number}" for number in range(40)]
URL = "http://example.com/image.png"


class Deployed:
    """An archive that several gateway processes share.

    Attributes:
        settings: of all.
        backends: the archive and the queue, opened here, too.
        models: what is served.
    """

    def __init__(self, folder: Path) -> None:
        self.models: Catalogue = catalogue(folder / "models")
        self._environment = {
            "EMBARK_DATA": str(folder / "data"),
            "EMBARK_RETINA__MODEL_REPOSITORY": str(folder / "models"),
            "EMBARK_RETINA__FOLLOW_SECONDS": "0.2",
            "EMBARK_GATEWAY__PROCESSES": "1",
            "EMBARK_ARCHIVE__USAGE__WINDOW_SECONDS": "60",
        }
        self.settings: Settings = load(environment=self._environment, overrides={}).settings
        self.backends: Backends = open_backends(self.settings)
        self._archive = Archive(self.backends.store)

    def write(self, key: Key, version: int = 0, age_s: float = 0) -> None:
        model = self.models[key.model]
        vector = np.roll(vector_of(key, DIMENSION), version)
        record = encode_embedding(key, vector, model.facts.dtype, now_ms() - int(age_s * 1000))
        self._archive.put_many(model, {key.digest: record})

    @contextmanager
    def gateway(self, **environment: str) -> Iterator[Client]:
        port = free_port()
        variables = {**os.environ, **self._environment, **environment}
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway"], env={**variables, "EMBARK_GATEWAY__PORT": str(port)}
        )
        try:
            with Client(f"http://127.0.0.1:{port}") as client:
                wait_until(lambda: is_ready(port), 60, "the gateway is ready")
                yield client
        finally:
            process.terminate()
            assert process.wait(30) == 0


def is_ready(port: int) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/v2/health/ready").status_code == 200
    return False


def word(text: str) -> Key:
    return Key("words", GENERATION, digest(text_input(text)))


def version_of(client: Client, key: Key) -> int | None:
    """Which version of a vector is answered, None for none; it is never anything else."""
    (row,), (status,) = client.lookup_keys(key.model, np.frombuffer(key.digest, np.uint8)[None])
    if status != 0:
        assert not row.any()
        return None
    whole = vector_of(key, DIMENSION).astype(row.dtype)
    return next(one for one in range(DIMENSION) if np.array_equal(row, np.roll(whole, one)))


def counted(client: Client, name: str, **labels: str) -> float:
    told = client._transport.exchange("GET", "/metrics").text
    wanted = "".join(f'(?=.*{label}="{value}")' for label, value in labels.items())
    found = re.findall(rf"^{name}{{{wanted}.*}} (\S+)$", told, re.MULTILINE)
    return sum(map(float, found))


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Deployed]:
    made = Deployed(tmp_path)
    yield made
    made.backends.close()


def by_endpoint(deployed: Deployed, client: Client, key: Key) -> None:
    body = f'{{"items": [{{"key": "{key}"}}]}}'.encode()
    client._transport.request("POST", "/v1/admin/invalidate", body)


def by_library(deployed: Deployed, client: Client, key: Key) -> None:
    Invalidation(deployed.backends).inputs(deployed.models, key.model, {key.digest: None})


@pytest.mark.parametrize("invalidate", [by_endpoint, by_library])
def test_what_is_invalidated_is_answered_by_no_gateway(
    deployed: Deployed, invalidate: Callable[[Deployed, Client, Key], None]
) -> None:
    wrong, right = word("wrong"), word("right")
    deployed.write(wrong)
    deployed.write(right)
    with ExitStack() as stack:
        gateways = [stack.enter_context(deployed.gateway()) for _ in range(2)]
        for client in gateways:
            assert version_of(client, wrong) == version_of(client, right) == 0
        # In the archive they differ now; whoever answers the first version has it in memory.
        deployed.write(wrong, version=1)
        deployed.write(right, version=1)
        for client in gateways:
            assert version_of(client, wrong) == version_of(client, right) == 0
        invalidate(deployed, gateways[0], wrong)
        for client in gateways:
            wait_until(lambda c=client: version_of(c, wrong) is None, 60, "forgotten")  # type: ignore[misc]
            assert version_of(client, right) == 0
        deployed.write(wrong, version=2)
        for client in gateways:
            assert version_of(client, wrong) == 2
            assert counted(client, "embark_l1_invalidations_total", dropped="inputs") == 1


def test_a_restarted_gateway_answers_from_memory(deployed: Deployed) -> None:
    for text in TEXTS:
        deployed.write(word(text))
    with deployed.gateway() as client:
        for _ in range(3):
            assert client.lookup(TEXTS, "words").hits.all()
        assert counted(client, "embark_lookup_hits_total", tier="archive") == len(TEXTS)
        assert counted(client, "embark_lookup_hits_total", tier="l1") == 2 * len(TEXTS)
        assert counted(client, "embark_l1_rows", model="words") == len(TEXTS)
    with deployed.gateway() as client:
        wait_until(
            lambda: counted(client, "embark_l1_prewarmed_total") == len(TEXTS), 60, "prewarmed"
        )
        assert client.lookup_vectors(TEXTS, "words").hits.all()
        assert counted(client, "embark_lookup_hits_total", tier="l1") == len(TEXTS)
        assert counted(client, "embark_lookup_hits_total", tier="archive") == 0


def test_an_image_that_was_computed_again_is_answered_soon(deployed: Deployed) -> None:
    key = Key("pictures", GENERATION, digest(image_url_input(URL)))
    deployed.write(key, age_s=3600)
    with deployed.gateway(EMBARK_INPUTS__REFRESH_URL_SECONDS="600") as client:
        assert version_of(client, key) == 0
        asked = client.lookup([ImageUrl(URL)], "pictures")
        assert asked.hits.all()
        wait_until(lambda: any(one.depth for one in lanes(deployed)), 60, "it is to be checked")
        deployed.write(key, version=1)  # as a consumer does that finds it changed
        wait_until(lambda: version_of(client, key) == 1, 25, "the new vector is answered")


def lanes(deployed: Deployed) -> list[LaneStatus]:
    return list(deployed.backends.queue.status().values())


def test_a_gateway_without_memory_reads_the_archive(deployed: Deployed) -> None:
    deployed.write(word("a"))
    with deployed.gateway(EMBARK_GATEWAY__L1__MAX_BYTES="0") as client:
        assert version_of(client, word("a")) == 0
        deployed.write(word("a"), version=1)
        assert version_of(client, word("a")) == 1
