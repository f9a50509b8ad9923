"""Grafana's dashboard and the table of promises, out of docker/grafana/promises.toml."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SOURCE = Path(__file__).parents[1] / "docker" / "grafana" / "promises.toml"

Promise = Mapping[str, Any]

_PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}
_WIDTH, _HEIGHT, _COLUMNS = 8, 7, 3


def promises() -> list[Promise]:
    """Return the promises: `text`, `alarms`, and `panel` with title, unit and series."""
    found: list[Promise] = tomllib.loads(SOURCE.read_text("utf-8"))["promise"]
    return found


def metrics_of(promise: Promise) -> list[str]:
    """Return the metrics that a promise's panels show, without suffixes of histograms."""
    text = " ".join(expression for panel in promise["panel"] for _, expression in panel["series"])
    names = re.findall(r"\bembark_\w+", text)
    return list(dict.fromkeys(re.sub(r"_(bucket|count|sum)$", "", name) for name in names))


def table() -> str:
    """Return the promises with their metrics and alarms."""
    head = "| promise | metrics | alarms |\n|---|---|---|\n"
    return head + "".join(
        f"| {one['text']} | {_listed(metrics_of(one))} | {_listed(one['alarms'])} |\n"
        for one in promises()
    )


def dashboard() -> str:
    """Return the dashboard as Grafana reads it."""
    board = {
        "uid": "embark",
        "title": "EmbArk",
        "schemaVersion": 41,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": []},
        "annotations": {"list": []},
        "panels": [
            {"id": number, **panel} for number, panel in enumerate(_panels(promises()), start=1)
        ],
    }
    return json.dumps(board, indent=1) + "\n"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _panels(rows: Sequence[Promise]) -> Iterator[dict[str, Any]]:
    y = 0
    for row in rows:
        yield {
            "type": "row",
            "title": row["text"],
            "collapsed": False,
            "panels": [],
            "gridPos": {"h": 1, "w": _WIDTH * _COLUMNS, "x": 0, "y": y},
        }
        y += 1
        for index, panel in enumerate(row["panel"]):
            down, right = divmod(index, _COLUMNS)
            yield _graph(panel, x=right * _WIDTH, y=y + down * _HEIGHT)
        y += -(-len(row["panel"]) // _COLUMNS) * _HEIGHT


def _graph(panel: Mapping[str, Any], *, x: int, y: int) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": panel["title"],
        "datasource": _PROMETHEUS,
        "gridPos": {"h": _HEIGHT, "w": _WIDTH, "x": x, "y": y},
        "fieldConfig": {"defaults": {"unit": panel["unit"], "min": 0}, "overrides": []},
        "options": {
            "legend": {
                "calcs": [],
                "displayMode": "list",
                "placement": "bottom",
                "showLegend": True,
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "expr": expression,
                "legendFormat": legend,
                "datasource": _PROMETHEUS,
            }
            for index, (legend, expression) in enumerate(panel["series"])
        ],
    }
