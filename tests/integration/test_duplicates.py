"""`embark duplicates --items` on the real platform, interrupted and gone on with."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.duplicates.catalogue import PAIRS_FILE, generate
from tests.support.stack import Stack

pytestmark = pytest.mark.stack

PRODUCTS, COPIES = 20, 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """20 products, 8 copies, 6 look-alikes, and two rows that cannot be used."""
    generate(tmp_path, PRODUCTS, seed=7)
    with (tmp_path / "items.csv").open("a", encoding="utf-8") as file:
        file.write("broken,,items.csv\ntoo,many,fields,here\n")
    return tmp_path


def command(stack: Stack, folder: Path, *more: str) -> list[str]:
    options = ["--items", str(folder / "items.csv"), "--url", stack.url, "--json", *more]
    return [sys.executable, "-m", "embark", "duplicates", *options]


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in lines)


def test_an_interrupted_run_goes_on_and_finds_the_copies(stack: Stack, folder: Path) -> None:
    reached = 0
    with subprocess.Popen(command(stack, folder), stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        for event in events(first.stdout):
            if event["event"] == "progress" and event["stage"] == "image vectors":
                reached = event["done"]
                assert reached < event["total"]
                first.send_signal(signal.SIGINT)
                break
        first.stdout.read()
    assert first.returncode == 130

    outputs = ["--out", str(folder / "groups.csv"), "--report", str(folder / "report.html")]
    ended = subprocess.run(
        command(stack, folder, *outputs), capture_output=True, text=True, check=True, env=os.environ
    )
    *progress, done = events(iter(ended.stdout.splitlines()))
    begun = {event["stage"]: event for event in reversed(progress)}
    assert begun["text vectors"]["done"] == begun["text vectors"]["total"]
    assert begun["image vectors"]["done"] >= reached
    assert done["models"]["text"]["model"] == "minilm"
    assert any("line 37" in problem for problem in done["left_out"])
    assert any("'broken' is compared without its image" in problem for problem in done["left_out"])

    group_of = {row["id"]: row["group"] for row in rows(folder / "groups.csv")}
    together = [
        pair
        for pair in rows(folder / PAIRS_FILE)
        if group_of.get(pair["id_a"], "a") == group_of.get(pair["id_b"], "b")
    ]
    copies = [pair for pair in together if pair["duplicate"] == "1"]
    assert len(copies) >= COPIES - 1
    # The same text under a picture that is a little alike is a duplicate by default.
    assert {pair["image_kind"] for pair in together if pair not in copies} <= {"other picture"}
    assert len(group_of) == 2 * len(together)
    page = (folder / "report.html").read_text("utf-8")
    assert page.count("data:image/jpeg;base64,") == len(group_of)


def test_three_items_are_a_catalogue_too(stack: Stack, folder: Path) -> None:
    with (folder / "items.csv").open(encoding="utf-8") as file:
        by_id = {row["id"]: row for row in csv.DictReader(file) if row["image"] is not None}
    pair = next(one for one in rows(folder / PAIRS_FILE) if one["duplicate"] == "1")
    ids = [pair["id_a"], pair["id_b"], next(one for one in by_id if one[:6] != pair["id_a"][:6])]
    path = folder / "three.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ("id", "text", "image"), extrasaction="ignore")
        table.writeheader()
        table.writerows(by_id[one] for one in ids)
    options = ["--items", str(path), "--url", stack.url, "--json"]
    ended = subprocess.run(
        [sys.executable, "-m", "embark", "duplicates", *options],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    done = json.loads(ended.stdout.splitlines()[-1])
    found = [{member["id"] for member in group["members"]} for group in done["groups"]]
    assert found == [{pair["id_a"], pair["id_b"]}]


def rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
