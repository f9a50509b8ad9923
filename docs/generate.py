"""Writes what is generated, `make docs`: settings, metrics, and Grafana's dashboard."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel

from embark import metrics
from embark.config import ENV_PREFIX
from embark.settings import Settings

FOLDER = Path(__file__).parent
DASHBOARD = FOLDER.parent / "docker" / "grafana" / "dashboards" / "embark.json"
_board = runpy.run_path(str(FOLDER / "dashboard.py"))


def configuration() -> str:
    """Return docs/configuration.md."""
    head = (
        "# Settings\n\n"
        "Defaults, then a TOML file (`embark.toml` here, or the one that `EMBARK_CONFIG` names),"
        " then environment variables, then command-line flags. An unknown name is an error."
        " `embark doctor` prints every value with its source.\n\n"
        "`gateway.port` is `[gateway] port = …` in the file and"
        f" `{ENV_PREFIX}GATEWAY__PORT` in the environment; lists are separated by commas there.\n\n"
        "Written by `make docs` from `embark/settings.py`.\n\n"
        "| setting | default | what it is |\n|---|---|---|\n"
    )
    return head + "".join(f"| `{a}` | `{b}` | {c} |\n" for a, b, c in _leaves(Settings()))


def metrics_page() -> str:
    """Return docs/metrics.md."""
    head = (
        "# Metrics\n\n"
        "`GET /metrics` of the gateway, in Prometheus' text format; under `embark up` it covers"
        " the consumers too.\n\nWritten by `make docs` from `embark/metrics.py` and"
        " docker/grafana/promises.toml.\n\n"
        "## What shows whether promises hold\n\nOne row of Grafana's dashboard each; alarms:"
        f" [operations.md](operations.md#alarms).\n\n{_board['table']()}\n"
        "## All metrics\n\n"
        "| metric | type | labels | what it is |\n|---|---|---|---|\n"
    )
    found = (one for one in vars(metrics).values() if isinstance(one, MetricWrapperBase))
    rows = []
    for metric in found:
        suffix = "_total" if metric._type == "counter" else ""
        labels = ", ".join(metric._labelnames)
        rows.append(
            f"| `{metric._name}{suffix}` | {metric._type} | {labels} | {metric._documentation} |\n"
        )
    return head + "".join(rows)


def dashboard() -> str:
    """Return docker/grafana/dashboards/embark.json."""
    written: str = _board["dashboard"]()
    return written


def _leaves(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _shown(value), field.description or ""


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


if __name__ == "__main__":
    (FOLDER / "configuration.md").write_text(configuration(), "utf-8")
    (FOLDER / "metrics.md").write_text(metrics_page(), "utf-8")
    DASHBOARD.write_text(dashboard(), "utf-8")
