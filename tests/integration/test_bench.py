"""The side-by-side benchmarks run, and their tables can be written. Never what they measured."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.gateway import aims, results
from benchmarks.gateway.__main__ import main
from benchmarks.gateway.options import Options
from benchmarks.gateway.parts import cold, consumers, growth, known, lookups
from benchmarks.gateway.place import Place, place_in
from benchmarks.gateway.results import Results
from benchmarks.gateway.table import PAGE
from embark.cluster.local import Addresses

QUICK = Options(rounds=1, seconds=0.05, quick=True, peers=False)
FLAGS = ["--quick", "--no-peers", "--rounds", "1", "--seconds", "0.05"]


@contextmanager
def a_place(folder: Path) -> Iterator[Place]:
    with place_in(folder / "place", print) as place:
        yield place


def measured(part: str, folder: Path) -> Results:
    """The part's results, each row of which has its rounds, with requests in them."""
    found = results.read(part, folder)
    assert found is not None
    assert found.notes == []
    for row in found.rows:
        assert len(row.slices) == found.rounds, row
        assert all(one.count > 0 for one in row.slices), row
    return found


def test_lookups_new_inputs_and_growth_are_measured_and_written_into_the_page(
    tmp_path: Path,
) -> None:
    page = tmp_path / "page.md"
    shutil.copy(PAGE, page)
    parts = [lookups.NAME, known.NAME, growth.NAME]
    places = ["--results", str(tmp_path), "--page", str(page)]
    assert main([*parts, "table", *FLAGS, *places]) == 0
    subjects = {row.subject for row in measured(lookups.NAME, tmp_path).rows}
    assert {aims.KEYS, aims.JSON, aims.FLOOR, lookups.GUNICORN_FLOOR} <= subjects
    shares = {row.case["known %"] for row in measured(known.NAME, tmp_path).rows}
    assert shares == set(known.PERCENTS)
    sizes = measured(growth.NAME, tmp_path)
    assert {one.name for one in sizes.figures} == {growth.OWN, growth.DISK, growth.MEMORY}
    assert {row.subject for row in sizes.rows} == {growth.HOT, growth.COLD}
    text = page.read_text("utf-8")
    assert f"| {aims.KEYS} |" in text
    assert "| 2,000 | 384 |" in text


@pytest.mark.cluster
def test_cold_reads_are_measured_beside_the_bare_drivers(
    tmp_path: Path, addresses: Addresses
) -> None:
    with a_place(tmp_path) as place:
        results.write(cold.measure(place, QUICK, addresses), tmp_path)
    found = measured(cold.NAME, tmp_path)
    stores = ("Cassandra", "LMDB")
    assert {row.subject for row in found.rows} == {
        *(cold.bare(shape) for shape in cold.SHAPES.values()),
        *(cold.service(store) for store in stores),
        *(cold.archive(store) for store in stores),
        cold.BARE_LMDB,
    }
    assert aims.best_bare(found, 100, 1) is not None


@pytest.mark.stack
@pytest.mark.cluster
def test_consumers_are_measured_beside_triton_alone(tmp_path: Path, addresses: Addresses) -> None:
    with a_place(tmp_path) as place:
        results.write(consumers.measure(place, QUICK, addresses), tmp_path)
    found = measured(consumers.NAME, tmp_path)
    assert {(one.case["modality"], one.name) for one in found.figures} == {
        (modality, name)
        for modality in ("text", "image")
        for name in (consumers.THROUGH, consumers.ALONE)
    }
    assert all(value > 0 for one in found.figures for value in one.values)
