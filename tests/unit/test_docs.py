"""The documentation says what the code does."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("model_repository/*.md")]
)


@pytest.mark.parametrize(
    ("page", "writer"),
    [
        ("docs/configuration.md", "configuration"),
        ("docs/metrics.md", "metrics_page"),
        ("docker/grafana/dashboards/embark.json", "dashboard"),
    ],
)
def test_generated_pages_are_up_to_date(page: str, writer: str) -> None:
    written = runpy.run_path(str(ROOT / "docs" / "generate.py"))[writer]()
    assert (ROOT / page).read_text("utf-8") == written, "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert target.startswith("http") or (page.parent / target).exists(), target
    for path in re.findall(r"`((?:embark|gateway|consumers|export|tests|docs)/[\w/.-]+)`", text):
        assert (ROOT / path).exists(), path


def test_every_command_is_in_the_readme() -> None:
    from embark.cli import _COMMANDS

    readme = (ROOT / "README.md").read_text("utf-8")
    for command in _COMMANDS:
        assert f"embark {command.__name__.rpartition('.')[2]}" in readme


def test_every_alarm_is_explained() -> None:
    rules = (ROOT / "docker/prometheus/rules.yaml").read_text("utf-8")
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    alarms = re.findall(r"- alert: (\w+)", rules)
    assert alarms
    assert [alarm for alarm in alarms if f"| `{alarm}` |" not in page] == []


def test_the_record_on_the_wire_is_documented() -> None:
    from embark.queue.kafka import message

    page = (ROOT / "docs/operations.md").read_text("utf-8")
    for header in re.findall(r"^      ([\w-]+)", message.__doc__ or "", re.MULTILINE):
        assert f"`{header}`" in page, header
