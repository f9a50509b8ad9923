"""Lookup → miss → queue → consumer → Triton → archive → hit, on real processes."""

from __future__ import annotations

import base64
import io
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import pytest
from PIL import Image
from skimage import data

from embark.client import Client, ImageUrl, Sendable
from embark.codec import Embedding, decode
from embark.keys import parse_key
from export.reference import Reference
from export.verification import cosines
from tests.conftest import ALLOWED_ORIGIN
from tests.support.stack import Stack, all_asked, all_hits, computed, wait_until

pytestmark = pytest.mark.stack


def accept(client: Client, texts: list[str]) -> None:
    """Look up until every text is known to be queued; a cold cluster may be late at first."""
    wait_until(lambda: all_asked(client, texts), 60, "all are queued")


def jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def huge_png() -> bytes:
    file = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def origin() -> Iterator[str]:
    """A web server on the allowed address: a photograph, and redirects to where none may go."""

    busy = iter([True, True])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/photograph":
                body = jpeg(data.coffee())
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            elif self.path == "/inside":
                self.send_response(302)
                self.send_header("Location", "http://127.0.0.1:1/secret")
                self.end_headers()
            elif self.path == "/busy" and next(busy, False):
                self.send_error(503)
            elif self.path == "/busy":
                self.path = "/photograph"
                self.do_GET()
            else:
                self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((ALLOWED_ORIGIN, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{ALLOWED_ORIGIN}:{server.server_port}"
        server.shutdown()
        thread.join()


def test_texts_are_oov_at_first_and_then_agree_with_pytorch(
    client: Client, minilm: Reference
) -> None:
    texts = [f"text {number}: {'long ' * number}" for number in range(60)] + ["", "日本語 🙂"]
    first = client.lookup(texts, "minilm")
    assert Counter(item.status for item in first.items) == {"oov": len(texts)}
    assert not first.embeddings.any()
    accept(client, texts)
    second = computed(client, texts, "minilm")
    assert second.hits.all()
    expected = minilm.embed([text.encode() for text in texts])
    assert cosines(second.embeddings, expected).min() >= 0.9999


def test_images_agree_with_pytorch(client: Client, inception: Reference) -> None:
    images = [jpeg(getattr(data, name)()) for name in ("astronaut", "rocket", "cat", "coins")]
    found = computed(client, images, "inception_v3")
    assert found.hits.all(), [item.reason for item in found.items]
    assert cosines(found.embeddings, inception.embed(images)).min() >= 0.9999


def test_inputs_that_cannot_be_embedded_fail_with_a_reason(client: Client, origin: str) -> None:
    truncated = jpeg(data.rocket())[:2000]
    inputs: dict[str, Sendable] = {
        "not_an_image": b"these are no pixels",
        "image_too_large": huge_png(),
        "forbidden_address": ImageUrl("http://127.0.0.1:1/x.png"),
        "not_found": ImageUrl(f"{origin}/missing"),
    }
    found = computed(
        client, [*inputs.values(), ImageUrl(f"{origin}/inside"), truncated], "inception_v3"
    )
    reasons = [item.reason["code"] if item.reason else None for item in found.items]
    assert reasons == [*inputs, "forbidden_address", "not_an_image"]

    def fail_again() -> bool:
        again = client.lookup(list(inputs.values()), "inception_v3", on_miss="skip")
        return {item.status for item in again.items} == {"failed"}

    wait_until(fail_again, 60, "failures are remembered")


def test_a_large_image_travels(client: Client, inception: Reference) -> None:
    file = io.BytesIO()
    pixels = np.random.default_rng(2).integers(0, 256, (2700, 2700, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    image = file.getvalue()
    assert len(image) > 20_000_000
    found = computed(client, [image], "inception_v3")
    assert found.hits.all(), found.items[0].reason
    assert cosines(found.embeddings, inception.embed([image])).min() >= 0.9999


def test_an_image_by_url_and_by_bytes_have_one_vector(client: Client, origin: str) -> None:
    inputs: list[Sendable] = [ImageUrl(f"{origin}/photograph"), jpeg(data.coffee())]
    found = computed(client, inputs, "inception_v3")
    assert found.hits.all(), [item.reason for item in found.items]
    assert cosines(found.embeddings[:1], found.embeddings[1:]).min() >= 0.9999


def test_an_origin_that_is_busy_is_asked_again(client: Client, origin: str) -> None:
    found = computed(client, [ImageUrl(f"{origin}/busy")], "inception_v3")
    assert found.hits.all(), [item.reason for item in found.items]


def test_a_damaged_record_is_computed_again(stack: Stack, client: Client) -> None:
    text = "stored, damaged, repaired"
    # Not looked up: a gateway would hold it in memory, and not see the damage.
    key = parse_key(str(client.prefetch([text], "minilm")[0]))
    backends = stack.open_backends()
    store = backends.store

    def stored() -> object:
        return store.get_many(key.model, key.generation, [key.digest], 5)[0]

    wait_until(lambda: isinstance(stored(), bytes), 60, "it is stored")
    record = stored()
    assert isinstance(record, bytes)
    first = decode(key, record, 384)
    assert isinstance(first, Embedding)
    damaged = record[:40] + bytes([record[40] ^ 1]) + record[41:]
    store.put_many(key.model, key.generation, {key.digest: damaged})
    assert client.lookup([text], "minilm", on_miss="skip").items[0].status == "oov"
    second = computed(client, [text], "minilm")
    assert second.hits.all()
    np.testing.assert_array_equal(second.embeddings[0], first.vector.astype(np.float32))
    repaired = stored()
    backends.close()
    assert isinstance(repaired, bytes)
    assert repaired[16:] == record[16:]


def test_prefetched_inputs_become_hits(client: Client) -> None:
    texts = [f"prefetched {number}" for number in range(200)]
    keys = client.prefetch(texts, "minilm")
    assert len(set(keys)) == len(texts)
    wait_until(lambda: all_hits(client, texts), 60, "all are hits")


def test_several_models_and_a_bad_item_in_one_request(stack: Stack) -> None:
    photograph = base64.b64encode(jpeg(data.cat())).decode()
    body = {
        "items": [
            {"model": "minilm", "text": "in one request"},
            {"model": "inception_v3", "image": photograph},
            {"model": "minilm", "image": photograph},
        ],
        "on_miss": "wait",
        "wait_ms": 20_000,
    }
    for _ in range(10):
        items = httpx.post(f"{stack.url}/v1/lookup", json=body, timeout=60).json()["items"]
        if [item["status"] for item in items] == ["hit", "hit", "invalid"]:
            break
    assert [item["status"] for item in items] == ["hit", "hit", "invalid"]
    assert [len(item["embedding"]) for item in items[:2]] == [384, 2048]


def test_concurrent_requests_are_executed_in_batches(stack: Stack, client: Client) -> None:
    retina = f"http://127.0.0.1:{stack.retina_port('http')}/v2/models/inception_v3_encoder/stats"

    def counts() -> tuple[int, int]:
        versions = httpx.get(retina).json()["model_stats"]
        inferences = sum(int(version["inference_count"]) for version in versions)
        return inferences, sum(int(version["execution_count"]) for version in versions)

    inferred, executed = counts()
    rng = np.random.default_rng(1)
    images = [jpeg(rng.integers(0, 256, (320, 320, 3), np.uint8)) for _ in range(48)]
    found = computed(client, images, "inception_v3")
    assert found.hits.all(), [item.reason for item in found.items]
    inferred, executed = counts()[0] - inferred, counts()[1] - executed
    assert inferred == len(images)
    assert executed <= len(images) / 2, f"{inferred} inferences in {executed} executions"


def test_metrics_tell_what_happened(stack: Stack, client: Client) -> None:
    computed(client, ["for the metrics"], "minilm")
    metrics = httpx.get(f"{stack.url}/metrics").text
    assert 'embark_lookup_items_total{model="minilm",status="hit"}' in metrics
    assert 'embark_consumed_total{model="minilm",outcome="embedded"}' in metrics
