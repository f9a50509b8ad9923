"""The side-by-side benchmarks: what is made of their figures. That they run: tests/integration."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gateway import aims, results, table
from benchmarks.gateway.clients import ClientFailed, Clients
from benchmarks.gateway.parts import PARTS, cold, lookups
from benchmarks.gateway.peers.base import http_call
from benchmarks.gateway.results import Figure, Results
from benchmarks.gateway.rounds import Slice, Spread, alternate, ratio, slice_of, spread
from benchmarks.gateway.workload import Inputs
from tests.support.models import catalogue

CASE: dict[str, str | int] = {"modality": "text", "keys": 100, "clients": 1}


def slices(*p50_ms: float) -> list[Slice]:
    return [Slice(one, one, 1000 / one, 1) for one in p50_ms]


def test_a_slice_counts_all_clients_together() -> None:
    one = slice_of([[0.010, 0.020, 0.030], [0.040]])
    assert one.count == 4
    assert one.p50_ms == pytest.approx(25)
    assert one.p99_ms == pytest.approx(40)
    assert one.per_s == pytest.approx(3 / 0.06 + 1 / 0.04)


def test_a_slice_without_a_request_is_an_error() -> None:
    with pytest.raises(ValueError, match="no request ended"):
        slice_of([[], []])


def test_a_ratio_is_taken_within_each_round() -> None:
    # Both were three times as slow in the second round, which is nobody's doing.
    assert ratio([2.0, 6.0], [1.0, 3.0]) == Spread(2.0, 2.0, 2.0)


def test_every_subject_takes_its_turn_in_every_round_in_changing_order() -> None:
    turns: list[tuple[int, str]] = []

    def take(name: str, number: int) -> Slice:
        turns.append((number, name))
        return slices(number + 1)[0]

    found = alternate(["a", "b", "c"], 6, take)
    assert {name: len(some) for name, some in found.items()} == {"a": 6, "b": 6, "c": 6}
    orders = {tuple(name for one, name in turns if one == number) for number in range(6)}
    assert len(orders) > 1


def test_a_subject_that_fails_takes_no_more_turns() -> None:
    turns: list[str] = []

    def take(name: str, number: int) -> Slice | None:
        turns.append(name)
        return None if name == "broken" else slices(1)[0]

    assert list(alternate(["good", "broken"], 3, take)) == ["good"]
    assert turns.count("broken") == 1


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    written = Results("lookups", 2)
    written.add(CASE, {"a": slices(1, 2)})
    written.figures.append(Figure({"vectors": 10}, "bytes", [3.5]))
    written.notes.append("b: it was not there")
    results.write(written, tmp_path)
    read = results.read("lookups", tmp_path)
    assert read is not None
    assert (read.rows, read.figures, read.notes) == (written.rows, written.figures, written.notes)
    assert read.machine
    assert read.row("a", **CASE) == written.rows[0]
    assert read.row("b", **CASE) is None
    assert results.read("cold", tmp_path) is None


def test_an_aim_is_judged_by_its_median_and_a_missing_one_is_not_judged() -> None:
    measured = Results(lookups.NAME, 3)
    measured.add(CASE, {aims.KEYS: slices(1, 1, 1), aims.FLOOR: slices(1, 0.7, 0.5)})
    measured.add(CASE, {"Redis behind Flask": slices(1.9, 1.5, 2.5)})
    met = {one.what: one.met for one in aims.aims({lookups.NAME: measured})}
    assert [met[name] for name in met if "same server" in name] == [True]
    assert [met[name] for name in met if name.startswith("Redis")] == [False]
    assert [met[name] for name in met if name.startswith("consumers")] == [None, None]


def test_the_best_shape_of_the_bare_driver_counts() -> None:
    measured = Results(cold.NAME, 2)
    shapes = dict(zip(cold.SHAPES.values(), ((9, 9), (5, 7), (6, 8), (8, 8)), strict=True))
    rows = {cold.bare(name): slices(*some) for name, some in shapes.items()}
    measured.add({"keys": 100, "clients": 1}, {**rows, cold.service("Cassandra"): slices(6, 6)})
    found = {one.what: one.found for one in aims.aims({cold.NAME: measured})}
    (over_http,) = (one for name, one in found.items() if name.startswith("cold"))
    assert over_http == spread([6 / 5, 6 / 7])


def test_a_case_that_is_lost_is_told_and_the_floor_is_no_loss() -> None:
    measured = Results(lookups.NAME, 1)
    measured.add(
        CASE,
        {aims.KEYS: slices(2), aims.FLOOR: slices(1), "fast": slices(0.5), "slow": slices(3)},
    )
    (lost,) = aims.losses({lookups.NAME: measured})
    assert (lost.other, lost.form, lost.times) == ("fast", aims.KEYS, 4)


def test_a_table_replaces_what_is_between_its_marks_and_nothing_else() -> None:
    begin = "<!-- begin a: written by `benchmarks.gateway table` -->"
    page = f"before\n{begin}\nold\n<!-- end a -->\nafter"
    written = table.put(page, "a", table.markdown(("x", "y"), [("1", "2")]))
    assert written.startswith("before\n") and written.endswith("\nafter")
    assert "old" not in written
    assert "| x | y |\n| --- | --- |\n| 1 | 2 |" in written
    assert table.put(written, "a", table.markdown(("x", "y"), [("1", "2")])) == written
    with pytest.raises(table.NoPlace):
        table.put(page, "b", [])


def test_the_page_has_a_place_for_every_table() -> None:
    page = table.PAGE.read_text("utf-8")
    for name in (*PARTS, "aims", "losses"):
        table.put(page, name, [])


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Spread(0.9215, 0.9, 1.1), "0.921 (0.9 to 1.1)"),
        (Spread(12345.6, 12345.6, 12345.6), "12,346"),
        (None, ""),
    ],
)
def test_figures_are_shown_with_their_spread(found: Spread | None, text: str) -> None:
    assert table.shown(found) == text


def test_new_inputs_are_never_repeated(tmp_path: Path) -> None:
    inputs = Inputs(catalogue(tmp_path)["words"], 50)
    rng = np.random.default_rng(0)
    batches = [inputs.mixed(20, 5, rng) for _ in range(30)]
    known = set(inputs.known)
    new = [one for batch in batches for one in batch.payloads if one not in known]
    assert len(new) == len(set(new)) == 30 * 15
    assert all(len(batch.payloads) == 20 for batch in batches)


@pytest.mark.parametrize("name", ["words", "pictures"])
def test_inputs_are_the_same_in_every_run(tmp_path: Path, name: str) -> None:
    model = catalogue(tmp_path)[name]
    first, again = (Inputs(model, 5) for _ in range(2))
    assert first.known == again.known
    assert len(set(first.all.digests)) == 5


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def answering() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_client_that_is_silent_is_not_heard_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answering: int
) -> None:
    some, request = Clients(tmp_path), [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"]
    try:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            monkeypatch.setattr("benchmarks.gateway.clients._ANSWER_SECONDS", 0.5)
            with pytest.raises(ClientFailed, match="does not answer"):
                some.measure([http_call(silent.getsockname()[1], request)], 0.1)
        monkeypatch.setattr("benchmarks.gateway.clients._ANSWER_SECONDS", 60)
        assert some.measure([http_call(answering, request)], 0.1).count > 0
    finally:
        some.disconnect()
