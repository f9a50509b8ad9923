"""One inference for one input, however many ask for it at once, through however many gateways."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import numpy as np
import pytest
from PIL import Image

from embark.client import Client, ImageUrl, Sendable
from tests.support.deployment import Deployment
from tests.support.origin import answer, origin
from tests.support.stack import all_asked, all_hits, drained, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.cluster]

CLIENTS = 25
CONSUMERS = ("consumer-1", "consumer-2")
GATEWAY_PROCESSES = 4
QUEUED = r'embark_misses_total\{outcome="queued"\} (\S+)'


def photograph(seed: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (299, 299, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@dataclass(frozen=True)
class Seen:
    """What became of many lookups at once.

    Attributes:
        missed: lookups that were answered before any vector was there.
        inferences: how many inputs Triton computed for all of them.
        records: requests that came to the queue.
        seconds: how long they were asked for.
    """

    missed: int
    inferences: int
    records: int
    seconds: float


def ask(deployment: Deployment, model: str, inputs: Sequence[Sendable], each: int) -> Seen:
    """Look each input up `each` times while consumers are held, then let them go."""
    before = deployment.inferences(model), metric(deployment, QUEUED)
    clients = [Client(url, timeout_s=60) for url in deployment.urls for _ in range(CLIENTS)]
    work = [*inputs] * each

    def look_up(number: int) -> str:
        found = clients[number % len(clients)].lookup([work[number]], model)
        return found.items[0].status

    began = time.monotonic()
    try:
        for consumer in CONSUMERS:
            deployment.freeze(consumer)
        with ThreadPoolExecutor(len(clients)) as pool:
            statuses = list(pool.map(look_up, range(len(work))))
        wait_until(lambda: all_asked(clients[0], inputs, model), 60, "all are queued")
        seconds = time.monotonic() - began
    finally:
        for consumer in CONSUMERS:
            deployment.thaw(consumer)
    wait_until(lambda: all_hits(clients[0], inputs, model), 60, "all are hits")
    wait_until(lambda: drained(clients[0]), 60, "all is committed")
    for client in clients:
        client.close()
    return Seen(
        statuses.count("oov"),
        deployment.inferences(model) - before[0],
        int(metric(deployment, QUEUED) - before[1]),
        seconds,
    )


def metric(deployment: Deployment, pattern: str) -> float:
    """The sum of a metric's samples, over all processes of the deployment."""
    text = httpx.get(f"{deployment.urls[0]}/metrics").text
    return sum(float(value) for value in re.findall(pattern, text))


def test_a_text_that_500_lookups_miss_is_computed_once(proxied: Deployment) -> None:
    in_flight = r'embark_misses_total\{outcome="in_flight"\} (\S+)'
    before = metric(proxied, in_flight)
    seen = ask(proxied, "minilm", ["one text, wanted by many at once"], 500)
    assert (seen.missed, seen.inferences) == (500, 1)
    remembered_s = proxied.settings.gateway.in_flight_seconds
    assert seen.records <= GATEWAY_PROCESSES * (1 + seen.seconds // remembered_s)
    assert metric(proxied, in_flight) > before


def test_an_image_that_many_send_is_computed_once(proxied: Deployment) -> None:
    seen = ask(proxied, "inception_v3", [photograph(1)], 40)
    assert (seen.missed, seen.inferences) == (40, 1)


def test_an_image_url_that_many_send_is_fetched_and_computed_once(proxied: Deployment) -> None:
    with origin(answer(photograph(2), Content_Type="image/png")) as server:
        seen = ask(proxied, "inception_v3", [ImageUrl(f"{server.url}/a")], 100)
        assert (seen.missed, seen.inferences) == (100, 1)
        assert server.connections == 1


def test_urls_of_the_same_bytes_are_computed_once(proxied: Deployment) -> None:
    with origin(answer(photograph(3), Content_Type="image/png")) as server:
        assert ask(proxied, "inception_v3", [ImageUrl(f"{server.url}/first")], 1).inferences == 1
        others: list[Sendable] = [ImageUrl(f"{server.url}/{number}") for number in range(5)]
        assert ask(proxied, "inception_v3", others, 5).inferences == 0
        with Client(proxied.urls[0]) as client:
            bytes_of_it: list[Sendable] = [photograph(3)]
            wait_until(lambda: all_hits(client, bytes_of_it, "inception_v3"), 60, "it is a hit")


def test_urls_and_bytes_of_one_image_at_once_are_computed_once_a_consumer(
    proxied: Deployment,
) -> None:
    with origin(answer(photograph(4), Content_Type="image/png")) as server:
        urls: list[Sendable] = [ImageUrl(f"{server.url}/{number}") for number in range(5)]
        assert ask(proxied, "inception_v3", [*urls, photograph(4)], 5).inferences <= len(CONSUMERS)
