"""Deliveries as Kafka may make them, and as nobody should: twice, out of order, unreadable."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
import time
from collections import Counter
from typing import Any, cast

import numpy as np
import pytest
from cassandra.cluster import Cluster
from confluent_kafka import Consumer, Producer, TopicPartition

from embark.client import Client
from embark.inputs import text_input
from embark.keys import Key, digest
from embark.queue.base import Lane
from embark.queue.kafka.topics import Topics
from export.reference import Reference
from export.verification import cosines
from tests.support.deployment import Deployment
from tests.support.stack import all_asked, all_hits, computed, drained, wait_for_hits, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.cluster, pytest.mark.timeout(600)]

Raw = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]


@pytest.fixture
def topics(proxied: Deployment) -> Topics:
    return Topics(proxied.settings.queue.kafka.prefix)


def produce(deployment: Deployment, topic: str, records: list[Raw]) -> None:
    """Write records with a stock producer."""
    bootstrap = deployment.settings.queue.kafka.bootstrap[0]
    # As Kafka's Java clients choose partitions, and EmbArk.
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
    for key, value, headers in records:
        producer.produce(topic, key=key, value=value, headers=list(headers))
    assert producer.flush(30) == 0


def read(deployment: Deployment, topic: str) -> list[Raw]:
    """Read a whole topic with a stock consumer."""
    consumer = Consumer(
        {
            "bootstrap.servers": deployment.settings.queue.kafka.bootstrap[0],
            "group.id": "a-stock-consumer",
            "enable.auto.commit": False,
        }
    )
    records: list[Raw] = []
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    ends = {
        one: consumer.get_watermark_offsets(TopicPartition(topic, one), timeout=10)
        for one in partitions
    }
    consumer.assign([TopicPartition(topic, one, low) for one, (low, _) in ends.items()])
    expected = sum(high - low for low, high in ends.values())
    deadline = time.monotonic() + 30
    while len(records) < expected and time.monotonic() < deadline:
        one = consumer.poll(0.5)
        if one is not None and one.error() is None:
            headers = cast("list[tuple[str, bytes]]", one.headers() or [])
            records.append((one.key(), one.value(), headers))
    consumer.close()
    assert len(records) == expected
    return records


def test_duplicated_and_reordered_deliveries_are_computed_once(
    proxied: Deployment, topics: Topics, minilm: Reference
) -> None:
    topic = topics.requests(Lane.BULK)
    texts = [f"duplicated {number}" for number in range(150)]
    with Client(proxied.urls[0]) as client:
        before = proxied.inferences("minilm")
        client.prefetch(texts, "minilm")
        ours = {str(Key("minilm", minilm.facts.generation, digest(text_input(one)))).encode()
                for one in texts}  # fmt: skip
        records = [one for one in read(proxied, topic) if one[0] in ours] * 4
        random.Random(1).shuffle(records)
        produce(proxied, topic, records)
        wait_until(lambda: all_hits(client, texts), 90, "all are hits")
        wait_until(lambda: drained(client), 60, "all is committed")
        found = wait_for_hits(client, texts, "minilm", 30)
    expected = minilm.embed([text.encode() for text in texts])
    assert cosines(found.embeddings, expected).min() >= 0.9999
    assert proxied.inferences("minilm") - before == len(texts)


def poison(generation: str) -> dict[str, Raw]:
    """Records that no consumer can serve, by what is wrong with each."""
    text = b"poison"
    item = text_input(text.decode())
    key = str(Key("minilm", generation, digest(item))).encode()
    good = [
        ("embark-schema", b"1"),
        ("kind", b"text"),
        ("lane", b"interactive"),
        ("attempt", b"1"),
        ("queued_ms", b"1700000000000"),
    ]

    def but(name: str, value: bytes) -> list[tuple[str, bytes]]:
        return [pair for pair in good if pair[0] != name] + [(name, value)]

    missing = [("claim", b"00" * 16), ("size", b"1000000")]
    rng = np.random.default_rng(0)
    return {
        "nothing": (None, None, []),
        "no headers": (b"no headers", text, []),
        "garbage": (rng.bytes(40), rng.bytes(900_000), [("kind", rng.bytes(9))]),
        "no key": (None, text, good),
        "another input's key": (key[:-4] + b"0000", text, good),
        "unknown kind": (key.replace(b"minilm", b"kind"), text, but("kind", b"video")),
        "number": (key.replace(b"minilm", b"number"), text, but("attempt", b"9" * 40)),
        "later schema": (key.replace(b"minilm", b"later"), text, but("embark-schema", b"7")),
        "claim": (key.replace(b"minilm", b"claimed"), b"", good + missing),
    }


def test_poison_becomes_dead_letters_and_delays_nothing(
    proxied: Deployment, topics: Topics, minilm: Reference
) -> None:
    records = poison(minilm.facts.generation)
    for lane in Lane:
        produce(proxied, topics.requests(lane), list(records.values()))
    texts = [f"after the poison {number}" for number in range(20)]
    with Client(proxied.urls[0]) as client:
        wait_until(lambda: all_asked(client, texts), 60, "all are queued")
        wait_until(lambda: all_hits(client, texts), 60, "all are hits")
        wait_until(lambda: drained(client), 60, "the poison is committed")
    letters = command(proxied, "queue", "dead", "list", "--json")["dead"]
    reasons = Counter(letter["code"] for letter in letters)
    assert reasons.keys() >= {"unreadable", "unsupported_schema", "claim_expired"}
    later = records["later schema"]
    assert later[0] is not None
    kept = [one for one in read(proxied, topics.dead) if (one[0] or b"").startswith(later[0])]
    assert [one[1] for one in kept] == [later[1]] * len(Lane)
    headers = kept[0][2]
    assert {*later[2]} <= {*headers}
    assert {"reason", "detail", "died_ms", "origin"} <= dict(headers).keys()

    name = later[0].decode()
    assert command(proxied, "queue", "dead", "replay", name, "--json") == {"replayed": len(Lane)}

    def is_back() -> bool:
        found = command(proxied, "queue", "dead", "list", "--json")["dead"]
        return [letter["key"] for letter in found].count(name) == len(Lane)

    wait_until(is_back, 60, "it is not understood still")
    purged = command(proxied, "queue", "dead", "purge", "--all", "--json")["purged"]
    assert purged >= len(records) * len(Lane)
    assert command(proxied, "queue", "dead", "list", "--json") == {"dead": []}


def test_an_input_that_is_no_image_fails_with_its_reason(proxied: Deployment) -> None:
    with Client(proxied.urls[0]) as client:
        found = computed(client, [b"no image"], "inception_v3")
    assert found.items[0].status == "failed"
    assert found.items[0].reason is not None
    assert found.items[0].reason["code"] == "not_an_image"


def test_a_stock_query_reads_a_vector_as_documented(proxied: Deployment) -> None:
    settings = proxied.settings.archive.cassandra
    with Client(proxied.urls[0]) as client:
        found = computed(client, ["read by others"], "minilm")
    model, generation, digits = str(found.items[0].key).split(":")
    with Cluster([settings.contact_points[0]], port=settings.port) as stock:
        rows = stock.connect().execute(
            f"SELECT record FROM {settings.keyspace}.embedding"
            f" WHERE model = '{model}' AND generation = '{generation}' AND digest = 0x{digits}"
        )
        (record,) = rows.one()
    version, kind, dimension = struct.unpack_from("<BBH", record)
    assert (version, kind, dimension) == (1, 1, 384)
    np.testing.assert_array_equal(np.frombuffer(record[16:], "<f2"), found.embeddings[0])


def command(deployment: Deployment, *arguments: str) -> Any:
    """Run `embark` on the deployment's cluster; returns what it printed as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "embark", *arguments],
        env=deployment.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
