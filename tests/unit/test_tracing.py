"""Traces: nothing of them while they are off; one request's way through the queue when on."""

from __future__ import annotations

import dataclasses
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from consumers.deliver import Deliverer
from consumers.flights import Flights
from consumers.in_flight import InFlight
from embark import tracing
from embark.config import load
from embark.inputs import Input, InputKind
from embark.keys import Key, digest
from embark.queue.base import Delivery, Lane, Request
from embark.queue.kafka import message as wire
from embark.queue.sqlite import SqliteQueue
from embark.queue.traced import MOST_FOLLOWED, TracedQueue
from embark.settings import TracingSettings
from gateway.app import Gateway
from tests.support.collector import Collector, Span, collecting
from tests.support.gateway import Service, service
from tests.support.stack import wait_until

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNFOLLOWED = CALLER[:-1] + "0"
SECRET = "a text that no span may quote"


def request(number: int, trace: str = "") -> Request:
    item = Input(InputKind.TEXT, f"{SECRET} {number}".encode())
    return Request(Key("words", "0" * 16, digest(item)), item, Lane.INTERACTIVE, trace)


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Where this process's traces go; every one is followed."""
    with collecting() as opened:
        tracing.start(TracingSettings(endpoint=opened.endpoint, ratio=1), "test")
        yield opened
        tracing.close()


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[TracedQueue]:
    opened = TracedQueue(SqliteQueue(tmp_path / "queue.sqlite", 15))
    yield opened
    opened.close()


def take(queue: TracedQueue) -> list[Delivery]:
    return queue.take(Lane.INTERACTIVE, 1000, 10**9)


def received(collector: Collector) -> dict[str, list[Span]]:
    """End the traces, and return what came in, by name."""
    tracing.close()
    found: dict[str, list[Span]] = {}
    for span in collector.spans:
        found.setdefault(span.name, []).append(span)
    return found


def context_of(span: Span) -> str:
    """As it travels, but for the flags."""
    return f"00-{span.trace}-{span.id}-"


def test_off_nothing_is_imported_started_or_sent() -> None:
    code = (
        "import sys, threading\n"
        "import gateway.app, consumers.deliver\n"
        "from embark import tracing\n"
        "from embark.settings import TracingSettings\n"
        "tracing.start(TracingSettings(), 'gateway')\n"
        "with tracing.request('a', ''), tracing.step('b', ['']):\n"
        "    assert tracing.current() == '' and tracing.begin('c', '', 'client') is None\n"
        "assert not tracing.enabled()\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_a_request_carries_its_trace_through_kafka_s_headers() -> None:
    sent = request(1, CALLER)
    record = wire.encode(sent, "embark.interactive", 5, None)
    assert record.header("traceparent") == CALLER
    retried = wire.retried(record, "embark.interactive.retry.short", 2, 10)
    message = wire.decode(retried)
    assert message.request(sent.item.payload).trace == CALLER
    assert wire.decode(wire.encode(request(1), "t", 5, None)).trace == ""


def test_a_request_carries_its_trace_through_the_embedded_queue(queue: TracedQueue) -> None:
    queue.put([request(1, CALLER), request(2)])
    # Tracing is off, so that nobody could follow it further.
    assert [one.request.trace for one in take(queue)] == ["", ""]


def test_a_key_that_waits_takes_the_first_trace_that_asks_for_it(tmp_path: Path) -> None:
    opened = SqliteQueue(tmp_path / "queue.sqlite", 15)
    for trace in ("", CALLER, CALLER.replace("b7", "c8")):
        opened.put([request(1, trace)])
    (delivery,) = opened.take(Lane.INTERACTIVE, 10, 10**9)
    assert delivery.request.trace == CALLER
    opened.close()


def test_a_queue_s_file_of_before_there_were_traces_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite"
    opened = SqliteQueue(path, 15)
    opened.put([request(1, CALLER)])
    opened.close()
    with sqlite3.connect(path) as old:
        old.execute("ALTER TABLE request DROP COLUMN trace")
    old.close()
    opened = SqliteQueue(path, 15)
    opened.put([request(2, CALLER)])
    found = opened.take(Lane.INTERACTIVE, 10, 10**9)
    assert [one.request.trace for one in found] == ["", CALLER]
    opened.close()


def test_consuming_is_below_putting_and_both_are_of_the_caller_s_trace(
    collector: Collector, queue: TracedQueue
) -> None:
    queue.put([request(1, CALLER)])
    (delivery,) = take(queue)
    with tracing.step("infer", [delivery.request.trace], attributes={"embark.items": 1}):
        assert tracing.current().startswith(CALLER[:35])
    queue.ack([delivery])
    spans = received(collector)
    (put,), (consume,), (infer,) = (spans[name] for name in ("queue.put", "consume", "infer"))
    assert put.trace == CALLER[3:35]
    assert [put.parent, consume.parent, infer.parent] == [CALLER[36:52], put.id, consume.id]
    assert [put.kind, consume.kind] == ["producer", "consumer"]
    assert consume.attributes["embark.outcome"] == "finished"
    assert consume.begin <= infer.begin <= infer.end <= consume.end
    assert all(span.service == "embark-test" for span in collector.spans)
    assert SECRET not in repr(collector.spans)


def test_each_attempt_is_a_span_of_its_own(collector: Collector, queue: TracedQueue) -> None:
    queue.put([request(1, CALLER)])
    for _ in range(2):
        (delivery,) = take(queue)
        assert queue.retry(delivery, 0)
    (delivery,) = take(queue)
    assert queue.bury(delivery, "gone", "it is gone")
    found = received(collector)["consume"]
    assert [one.attributes["embark.attempt"] for one in found] == [1, 2, 3]
    assert [one.attributes["embark.outcome"] for one in found] == ["retried", "retried", "dead"]
    assert len({one.parent for one in found}) == 1


@pytest.mark.parametrize("caller", ["", UNFOLLOWED, "nonsense", CALLER + "0" * 1000, "00-" * 18])
def test_a_trace_that_is_none_or_not_followed_is_not_followed(
    collector: Collector, queue: TracedQueue, caller: str
) -> None:
    queue.put([request(1, caller)])
    (delivery,) = take(queue)
    queue.ack([delivery])
    if caller.startswith(CALLER):
        # What is too long is cut where a later version of the standard would add to it.
        assert set(received(collector)) == {"queue.put", "consume"}
    else:
        assert received(collector) == {}


def test_of_one_request_s_misses_some_are_followed(
    collector: Collector, queue: TracedQueue
) -> None:
    queue.put([request(number, CALLER) for number in range(100)])
    queue.ack(take(queue))
    spans = received(collector)
    assert [put.attributes["embark.items"] for put in spans["queue.put"]] == [100]
    assert len(spans["consume"]) == MOST_FOLLOWED


def test_a_step_for_several_traces_is_a_span_of_each(collector: Collector) -> None:
    other = CALLER.replace("0af7", "1bf8")
    with tracing.step("infer", [CALLER, "", other, CALLER], links=[other]):
        assert tracing.current().startswith(CALLER[:35])
    spans = received(collector)["infer"]
    assert [one.trace for one in spans] == [CALLER[3:35], other[3:35]]
    assert spans[0].links == ((other[3:35], other[36:52]),)


def test_a_failed_step_says_so_without_quoting(collector: Collector) -> None:
    with pytest.raises(ValueError, match=SECRET), tracing.step("infer", [CALLER]):
        raise ValueError(SECRET)
    (span,) = received(collector)["infer"]
    assert span.failed and span.attributes == {"error.type": "unexpected"}
    assert SECRET not in repr(span)


@pytest.fixture
def traced(tmp_path: Path, collector: Collector) -> Iterator[Service]:
    """A gateway as `open_gateway` makes it when traces are sent."""
    with service(tmp_path, patient=True) as opened:
        backends = dataclasses.replace(opened.backends, queue=TracedQueue(opened.queue))
        followed = Gateway(opened.settings, backends)
        opened.http = followed.app.test_client()
        yield opened
        followed.close()


def test_a_lookup_is_a_span_below_the_caller_s(traced: Service, collector: Collector) -> None:
    body = {"model": "words", "items": [SECRET]}
    answer = traced.http.post("/v1/lookup", json=body, headers={tracing.HEADER: CALLER})
    assert answer.status_code == 200
    traced.http.get("/v1/models")
    (delivery,) = traced.queue.take(Lane.INTERACTIVE, 10, 10**9)
    spans = received(collector)
    (asked,) = spans["POST /v1/lookup"]
    assert (asked.trace, asked.parent, asked.kind) == (CALLER[3:35], CALLER[36:52], "server")
    assert asked.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/lookup",
        "http.response.status_code": 200,
        "embark.words.oov": 1,
    }
    (read,), (put,) = spans["archive.read"], spans["queue.put"]
    assert read.parent == put.parent == asked.id
    assert delivery.request.trace.startswith(context_of(put))
    assert set(spans) == {"POST /v1/lookup", "archive.read", "queue.put"}
    assert SECRET not in repr(collector.spans)


def test_a_lookup_of_a_key_that_is_in_flight_links_to_who_asked_first(
    traced: Service, collector: Collector
) -> None:
    for _ in range(2):
        traced.lookup([SECRET], model="words")
    spans = received(collector)
    first, second = spans["POST /v1/lookup"]
    assert first.trace != second.trace
    assert second.links == ((first.trace, first.id),)
    assert len(spans["queue.put"]) == 1


def test_a_request_that_joined_another_s_inference_links_to_it(
    tmp_path: Path, collector: Collector
) -> None:
    other = CALLER.replace("0af7", "1bf8")
    with service(tmp_path) as here:
        queue = TracedQueue(here.queue)
        settings = load(environment={}).settings
        in_flight = InFlight(queue, settings.consumer, 15)
        flights = Flights()
        backends = dataclasses.replace(here.backends, queue=queue)
        deliverer = Deliverer(backends, in_flight, flights, settings)
        queue.put([request(1, CALLER)])
        queue.put([request(2, other)])
        leader, follower = take(queue)
        in_flight.add([leader, follower])
        assert flights.lead(leader, leader.request.key)
        assert not flights.lead(follower, leader.request.key)
        model = here.models["words"]
        deliverer.embedded(model, [leader], np.ones((1, model.facts.dimension)))
        in_flight.close()
    spans = received(collector)
    (led, joined), (own, others) = spans["consume"], spans["archive.write"]
    assert (led.trace, joined.trace) == (CALLER[3:35], other[3:35])
    assert (own.parent, others.parent) == (led.id, joined.id)
    assert (own.links, others.links) == ((), ((led.trace, led.id),))
    assert others.attributes["embark.outcome"] == "joined"


def test_a_prefetch_is_followed_too(traced: Service, collector: Collector) -> None:
    body = {"model": "words", "items": ["a", "b"]}
    assert traced.http.post("/v1/prefetch", json=body).status_code == 202
    deliveries = traced.queue.take(Lane.BULK, 10, 10**9)
    spans = received(collector)
    (asked,), (put,) = spans["POST /v1/prefetch"], spans["queue.put"]
    assert put.parent == asked.id
    assert [one.request.trace[:-2] for one in deliveries] == [context_of(put)] * 2


def test_refused_requests_are_followed_and_leave_nothing_behind(
    traced: Service, collector: Collector
) -> None:
    assert traced.http.post("/v1/lookup", data=b"{").status_code == 400
    assert traced.http.post("/v1/nowhere", json={}).status_code == 404
    assert tracing.current() == ""
    spans = received(collector)
    assert spans["POST /v1/lookup"][0].attributes["http.response.status_code"] == 400
    assert spans["POST unknown"][0].attributes["http.response.status_code"] == 404


def test_a_collector_that_is_dead_or_hangs_keeps_nobody_waiting(queue: TracedQueue) -> None:
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        settings = TracingSettings(endpoint=f"http://127.0.0.1:{port}/v1/traces", ratio=1)
        tracing.start(settings, "test")
        queue.put([request(1, CALLER)])
        for _ in range(3000):  # more than what waits to be sent may be
            with tracing.step("infer", [CALLER]):
                assert tracing.current()
        (delivery,) = take(queue)
        queue.ack([delivery])
        tracing.close()
    assert not tracing.enabled()
    # What is left of the exporter draws random numbers, which others' tests would notice.
    wait_until(lambda: set(threading.enumerate()) <= before, 60, "the exporter has ended")
