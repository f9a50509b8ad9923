"""A real Prometheus evaluates every panel and every alarm over the running platform."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from embark.client import Client, ImageUrl
from embark.ports import free_port
from tests.support.prometheus import ROOT, Prometheus, watching
from tests.support.stack import Stack, running, wait_for_hits, wait_until

pytestmark = pytest.mark.stack

BOARD: dict[str, Any] = json.loads(
    (ROOT / "docker/grafana/dashboards/embark.json").read_text("utf-8")
)
EXPRESSIONS = [
    target["expr"].replace("$__rate_interval", "30s")
    for panel in BOARD["panels"]
    for target in panel.get("targets", [])
]
# What did not happen has no series: troubles, refreshing, an index of few vectors, full memory.
NOT_HAPPENED = {
    "embark_archive_errors_total",
    "embark_archive_late_items_total",
    "embark_corrupt_records_total",
    "embark_dead_letters_total",
    "embark_l1_evictions_total",
    "embark_l1_invalidations_total",
    "embark_l1_prewarmed_total",
    "embark_neighbours_builds_total",
    "embark_neighbours_errors_total",
    "embark_neighbours_unwritten_total",
    "embark_refreshes_total",
    "embark_refused_requests_total",
}
SECONDS = 60
TEXTS = [f"a text for the dashboard, {number}" for number in range(40)]
FORBIDDEN = ImageUrl("http://127.0.0.1:1/nowhere.jpg")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Prometheus]]:
    """The platform with the jobs that docker/ names, and the Prometheus that scrapes them."""
    status = free_port()
    environment = {"EMBARK_CONSUMER__STATUS_PORT": str(status)}
    with running(tmp_path_factory.mktemp("watched"), environment) as stack:
        (triton,) = stack.children("tritonserver")
        flag = next(part for part in triton.cmdline() if part.startswith("--metrics-port="))
        targets = {
            "gateway": stack.url.removeprefix("http://"),
            "consumer": f"127.0.0.1:{status}",
            "retina": f"127.0.0.1:{flag.partition('=')[2]}",
        }
        with watching(tmp_path_factory.mktemp("prometheus"), targets) as prometheus:
            yield stack, prometheus


@pytest.fixture(scope="module")
def busy(watched: tuple[Stack, Prometheus]) -> Iterator[Prometheus]:
    """The same, with every kind of request going on."""
    stack, prometheus = watched
    stop = threading.Event()
    failures: list[Exception] = []

    def work() -> None:
        try:
            with Client(stack.url) as client:
                while not stop.wait(0.2):
                    use(client, stack.url)
        except Exception as error:
            failures.append(error)

    with Client(stack.url) as client:
        client.prefetch(TEXTS[:20], "minilm")
        client.lookup(TEXTS, "minilm")
        wait_for_hits(client, TEXTS, "minilm", 60)
    thread = threading.Thread(target=work)
    thread.start()
    yield prometheus
    stop.set()
    thread.join()
    assert failures == []


def use(client: Client, url: str) -> None:
    client.lookup(TEXTS, "minilm")
    client.lookup([FORBIDDEN], "inception_v3")
    client.neighbours(TEXTS[:1], "minilm", k=3)
    tensor = {"name": "TEXT", "datatype": "BYTES", "shape": [1, 1], "data": [TEXTS[0]]}
    with httpx.Client(base_url=url, trust_env=False, timeout=20) as http:
        answer = http.post("/v2/models/minilm/infer", json={"inputs": [tensor]})
        assert answer.status_code == 200, answer.text


def names(expression: str) -> set[str]:
    return set(re.findall(r"\bembark_\w+", expression))


def test_every_panel_is_evaluated_and_shows_what_happened(busy: Prometheus) -> None:
    left = [one for one in EXPRESSIONS if not names(one) <= NOT_HAPPENED]
    troubles = [one for one in EXPRESSIONS if one not in left]
    assert len(left) > len(troubles)
    for expression in troubles:
        busy.query(expression)

    def all_show() -> bool:
        left[:] = [one for one in left if not busy.query(one)]
        return not left

    with suppress(AssertionError):  # the next one says which
        wait_until(all_show, SECONDS, "every panel shows something")
    assert left == []


def test_every_alarm_is_evaluated_and_none_rings_on_a_quiet_day(busy: Prometheus) -> None:
    up = {"gateway": "up", "consumer": "up", "retina": "up"}
    wait_until(lambda: busy.targets() == up, 60, "all are up")

    def unread() -> list[str]:
        return [rule["name"] for rule in busy.rules() if rule["health"] == "unknown"]

    wait_until(lambda: not unread(), 60, "every rule was evaluated")
    rules = busy.rules()
    assert {rule["name"] for rule in rules} == set(
        re.findall(r"- alert: (\w+)", (ROOT / "docker/prometheus/rules.yaml").read_text("utf-8"))
    )
    troubles = {
        rule["name"]: (rule["health"], rule.get("lastError"), rule["state"])
        for rule in rules
        if rule["health"] != "ok" or rule["state"] == "firing"
    }
    assert troubles == {}
