"""Each promise has metrics that show it and alarms that watch it; every metric is shown."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase

from embark import metrics

ROOT = Path(__file__).parents[2]
BOARD = runpy.run_path(str(ROOT / "docs" / "dashboard.py"))
PROMISES: list[dict[str, Any]] = BOARD["promises"]()
RULES = (ROOT / "docker/prometheus/rules.yaml").read_text("utf-8")


def names() -> set[str]:
    found = [one for one in vars(metrics).values() if isinstance(one, MetricWrapperBase)]
    return {one._name + ("_total" if one._type == "counter" else "") for one in found}


def test_every_metric_shows_whether_a_promise_holds() -> None:
    shown = {name for promise in PROMISES for name in BOARD["metrics_of"](promise)}
    assert shown == names()


def test_every_alarm_says_which_promise_is_at_risk() -> None:
    of_promises = {alarm for promise in PROMISES for alarm in promise["alarms"]}
    assert of_promises == set(re.findall(r"- alert: (\w+)", RULES))
    assert [promise["text"] for promise in PROMISES if not promise["alarms"]] == []


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise["text"])
def test_an_alarm_watches_what_its_promise_shows(promise: dict[str, Any]) -> None:
    for alarm in promise["alarms"]:
        rule = re.search(rf"- alert: {alarm}\n(.*?)(?=- alert:|\Z)", RULES, re.DOTALL)
        assert rule is not None
        watched = re.findall(r"\bembark_\w+", rule[1])
        known = {re.sub(r"_(bucket|count)$", "", name) for name in watched}
        assert known <= names()
        # Whether a process is there is no metric of its own.
        assert known & set(BOARD["metrics_of"](promise)) or "up{" in rule[1], alarm


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    panels = json.loads(BOARD["dashboard"]())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
