"""One miss is one trace: request → queue → consume → infer → write, on both profiles."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import httpx
import pytest

from embark.client import Client
from tests.support.cluster import environment_of, unique
from tests.support.collector import Collector, Span, collecting
from tests.support.stack import Stack, running, wait_for_hits, wait_until

pytestmark = pytest.mark.stack

STEPS = ["POST /v1/lookup", "queue.put", "consume", "infer", "archive.write"]
SECRET = "a text that no span may quote"
SECONDS = 20


@pytest.fixture(
    scope="module", params=["embedded", pytest.param("cluster", marks=pytest.mark.cluster)]
)
def followed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stack, Collector]]:
    """The platform with every request followed; on Cassandra and Kafka, two consumers."""
    with collecting() as collector:
        environment = {
            "EMBARK_TRACING__ENDPOINT": collector.endpoint,
            "EMBARK_TRACING__RATIO": "1",
        }
        if request.param == "cluster":
            addresses = request.getfixturevalue("addresses")
            environment |= environment_of(addresses, "t", consumer__processes=2)
        with running(tmp_path_factory.mktemp("traced"), environment) as stack:
            yield stack, collector


@pytest.fixture
def traced(followed: tuple[Stack, Collector]) -> Stack:
    return followed[0]


@pytest.fixture
def collector(followed: tuple[Stack, Collector]) -> Collector:
    return followed[1]


def ask(stack: Stack, items: Sequence[object], caller: str = "", model: str = "minilm") -> None:
    """Look inputs up, with the caller's trace, until all are queued or their end is known."""
    headers = {"traceparent": caller} if caller else {}

    def are_queued() -> bool:
        body = {"model": model, "items": items}
        answer = httpx.post(
            f"{stack.url}/v1/lookup", json=body, headers=headers, trust_env=False, timeout=60
        )
        found = answer.raise_for_status().json()["items"]
        return all(item["status"] in ("hit", "failed") or item["queued"] for item in found)

    wait_until(are_queued, SECONDS, "all are queued")


def way(collector: Collector, trace: str) -> list[Span]:
    """The first span of each step of a trace that led from a lookup to the archive, in order."""
    spans = {span.id: span for span in collector.spans if span.trace == trace}
    written = next((one for one in spans.values() if one.name == "archive.write"), None)
    if written is None:
        return []
    consume = spans.get(written.parent)
    put = spans.get(consume.parent) if consume else None
    asked = spans.get(put.parent) if put else None
    infer = next((one for one in spans.values() if consume and one.parent == consume.id), None)
    found = [asked, put, consume, infer, written]
    return [span for span in found if span is not None]


def test_one_miss_is_one_trace_from_the_lookup_to_the_archive(
    traced: Stack, collector: Collector
) -> None:
    trace, parent = unique("").ljust(32, "0"), "b7ad6b7169203331"
    ask(traced, [SECRET], f"00-{trace}-{parent}-01")
    wait_until(lambda: len(way(collector, trace)) == len(STEPS), SECONDS, "the trace is complete")
    found = way(collector, trace)
    assert [span.name for span in found] == STEPS
    asked, _, consume, infer, written = found
    assert asked.parent == parent
    assert infer.parent == written.parent == consume.id
    assert [span.service for span in found] == ["embark-gateway"] * 2 + ["embark-consumer"] * 3
    begins = [span.begin for span in found]
    assert begins == sorted(begins)
    assert infer.end <= written.begin and written.end <= consume.end
    assert not any(span.failed for span in found)
    assert consume.attributes["embark.model"] == infer.attributes["embark.model"] == "minilm"
    assert infer.attributes["embark.items"] == 1
    assert consume.attributes["embark.outcome"] == "finished"

    def inside_triton() -> list[Span]:
        return [span for span in collector.spans if span.parent == infer.id]

    wait_until(inside_triton, SECONDS, "Triton has sent its own")
    (inside,) = inside_triton()
    assert (inside.service, inside.trace) == ("triton", trace)
    assert SECRET not in repr(collector.spans)


def test_misses_of_several_requests_that_share_an_inference_keep_their_traces(
    traced: Stack, collector: Collector
) -> None:
    traces = [f"{unique('')}{number:020x}" for number in range(12)]
    threads = [
        threading.Thread(
            target=ask, args=(traced, [f"{SECRET} {trace}"], f"00-{trace}-{'1' * 16}-01")
        )
        for trace in traces
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(
        lambda: all(len(way(collector, trace)) == len(STEPS) for trace in traces),
        SECONDS,
        "all traces are complete",
    )
    for trace in traces:
        assert [span.name for span in way(collector, trace)] == STEPS


def test_fetching_is_a_step_and_says_why_it_failed(traced: Stack, collector: Collector) -> None:
    trace = unique("").ljust(32, "0")
    url = f"http://127.0.0.1:1/{trace}.jpg"
    ask(traced, [{"image_url": url}], f"00-{trace}-{'1' * 16}-01", "inception_v3")

    def of_trace(name: str) -> list[Span]:
        return [span for span in collector.named(name) if span.trace == trace]

    wait_until(lambda: of_trace("consume"), SECONDS, "it was consumed")
    (consume,), (fetch,) = of_trace("consume"), of_trace("fetch")
    assert fetch.parent == consume.id
    assert fetch.failed and fetch.attributes == {"error.type": "forbidden_address"}
    assert url not in repr(collector.spans)


def test_a_caller_that_is_not_followed_is_not_followed(traced: Stack, collector: Collector) -> None:
    quiet, loud = (unique("").ljust(32, digit) for digit in "01")
    ask(traced, [f"{SECRET} {quiet}"], f"00-{quiet}-{'1' * 16}-00")
    ask(traced, [f"{SECRET} {loud}"], f"00-{loud}-{'1' * 16}-01")
    wait_until(lambda: len(way(collector, loud)) == len(STEPS), SECONDS, "the trace is complete")
    assert [span for span in collector.spans if span.trace == quiet] == []


def test_a_dead_collector_changes_nothing_for_callers(traced: Stack, collector: Collector) -> None:
    collector.close()
    with Client(traced.url) as client:
        texts = [f"{SECRET} {unique('')}" for _ in range(20)]
        ask(traced, texts)
        assert wait_for_hits(client, texts, "minilm", SECONDS).hits.all()
    assert traced.stop() == 0
