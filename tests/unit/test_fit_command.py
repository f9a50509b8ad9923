"""Request logs as they come, and what `embark fit` makes of them."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from embark.cli import main
from embark.errors import BadRequest
from embark.fit import Columns, Reading, Trace, read_log
from embark.fit.times import UNITS, unit_of

START = 1_760_000_000.5
ANY = Columns()


def write(path: Path, lines: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    return path


def read(path: Path, columns: Columns = ANY, window_s: float = 60) -> tuple[Trace, Reading]:
    return read_log(path, columns, window_s)


def busy_log(path: Path, requests: int = 3000, items: int = 60) -> Path:
    """Two hours of requests for few inputs."""
    rng = np.random.default_rng(5)
    times = START + np.sort(rng.uniform(0, 7200, requests))
    made = zip(times, rng.integers(items, size=requests), strict=True)
    return write(
        path,
        [("time", "input"), *((f"{time:.3f}", f"text {name}") for time, name in made)],
    )


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("1760000000.5", "s"),
        ("0", "s"),
        ("1760000000500", "ms"),
        ("1760000000500000", "us"),
        ("2025-10-09T08:53:20.5Z", "iso"),
        ("2025-10-09 08:53:20.500", "iso"),
        ("2025-10-09T10:53:20.500+02:00", "iso"),
    ],
)
def test_times_are_understood(text: str, unit: str) -> None:
    assert unit_of(text) == unit
    assert UNITS[unit](text) == pytest.approx(0 if text == "0" else START, abs=1e-6)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "iso"])
def test_all_units_give_the_same_trace(tmp_path: Path, unit: str) -> None:
    offsets = [0.0, 0.25, 61.0]
    moment = datetime.fromtimestamp(START, timezone.utc)
    times: dict[str, Sequence[object]] = {
        "s": [START + one for one in offsets],
        "ms": [round((START + one) * 1e3) for one in offsets],
        "us": [round((START + one) * 1e6) for one in offsets],
        "iso": [(moment + timedelta(seconds=one)).isoformat() for one in offsets],
    }
    rows = [("time", "input"), *((one, "a") for one in times[unit])]
    path = write(tmp_path / "log.csv", rows)
    trace, reading = read(path)
    np.testing.assert_allclose(trace.times - START, offsets, atol=1e-6)
    assert reading.unit == unit


def test_a_log_may_be_gzip_with_a_mark_with_quotes_and_columns_of_any_name(tmp_path: Path) -> None:
    path = tmp_path / "log.csv.gz"
    content = (
        '\ufeffwho,when,what\nx,1,"two\nlines, and a comma"\nx,2,b\ny,3,"two\nlines, and a comma"\n'
    )
    path.write_bytes(gzip.compress(content.encode()))
    trace, reading = read(path, Columns(time="when", input="what"))
    assert trace.inputs.tolist() == [0, 1, 0]
    assert (trace.numbers, reading.lines, reading.bad) == (2, 3, 0)
    assert trace.mean_bytes == (len("two\nlines, and a comma") + 1) / 2


def test_inputs_that_are_no_utf8_stay_apart(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"time,input\n1,\xff\n2,\xfe\n3,\xff\n")
    assert read(path)[0].inputs.tolist() == [0, 1, 0]


def test_bad_lines_are_counted_and_shown_by_number(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("time,input\n1,a\nsoon,a\n\n2\n3,\nnan,a\n4,b\n")
    trace, reading = read(path)
    assert trace.times.tolist() == [1, 4]
    assert (reading.lines, reading.bad) == (6, 4)
    assert [line for line, _ in reading.examples] == [3, 5, 6, 7]
    assert "soon" in reading.examples[0][1]


def test_lines_out_of_order_within_the_window_are_put_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embark.fit.reading._LINES_AT_ONCE", 7)
    rng = np.random.default_rng(0)
    times = np.arange(500.0)
    arrived = np.argsort(times + rng.uniform(0, 20, 500))
    path = write(
        tmp_path / "log.csv",
        [("time", "input"), *((times[one], f"text {one % 9}") for one in arrived)],
    )
    trace, reading = read(path, window_s=20)
    assert reading.late == 0
    assert trace.times.tolist() == times.tolist()
    names = {f"text {arrived[0] % 9}": 0}
    for one in arrived:
        names.setdefault(f"text {one % 9}", len(names))
    assert trace.inputs.tolist() == [names[f"text {one % 9}"] for one in range(500)]


def test_lines_that_come_later_than_the_window_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embark.fit.reading._LINES_AT_ONCE", 10)
    times = [*range(100), 5, *range(100, 150)]
    path = write(tmp_path / "log.csv", [("time", "input"), *((one, "a") for one in times)])
    trace, reading = read(path, window_s=30)
    assert (reading.late, reading.latest_s) == (1, 94)
    assert trace.times.tolist() == list(range(150))

    upside_down = write(
        tmp_path / "down.csv", [("time", "input"), *((one, "a") for one in range(150, 0, -1))]
    )
    with pytest.raises(BadRequest, match=r"out of order.*--window-seconds"):
        read(upside_down, window_s=1)


def test_a_model_is_chosen_where_there_are_several(tmp_path: Path) -> None:
    lines = [("time", "input", "model"), (1, "a", "m"), (2, "a", "n"), (3, "b", "m")]
    path = write(tmp_path / "log.csv", lines)
    with pytest.raises(BadRequest, match=r"'m' and 'n'.*--model"):
        read(path)
    trace, reading = read(path, Columns(only="m"))
    assert (trace.times.tolist(), reading.other_models) == ([1, 3], 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"when,input\n1,a\n", "no column 'time'; its columns are: when, input"),
        (b"", "no column 'time'; its columns are: none"),
        (b"time,input\n", "no request that can be read"),
        (b"time,input\nsoon,a\n", "line 2: .*soon"),
        (b"\x1f\x8bnot gzip", "cannot read"),
    ],
)
def test_an_unreadable_log_is_refused_with_the_reason(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    with pytest.raises(BadRequest, match=said):
        read(path)


def test_the_command_reports_and_says_by_its_status_whether_it_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = busy_log(tmp_path / "log.csv")
    arguments = ["fit", "--log", str(path), "--throughput", "50"]

    assert main([*arguments, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["fits"] is True
    assert (said["log"]["requests"], said["log"]["distinct"]) == (3000, 60)
    assert said["hits"]["last_quarter"]["hit_rate"] == 1
    assert said["hits"]["first_day"] is None
    assert sum(said["series"]["requests"]) == 3000
    assert sum(said["series"]["first_seen"]) == 60
    assert said["needs"]["archive_bytes"] == 3 * 60 * (16 + 2 * 384 + 75 + 80) + 3 * sum(
        len(f"text {name}") for name in range(60)
    )

    assert main([*arguments, "--change-days", "0.0001"]) == 1
    text = capsys.readouterr().out
    assert "3. embeddings rarely change: DOES NOT HOLD" in text
    assert "1. a new input is scored again soon, with its vector: holds" in text

    assert main([*arguments, "--change-days", "0"]) == 2
    assert main(["fit", "--log", str(tmp_path / "none.csv"), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "unreadable_log"


def test_the_plot_is_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, picture = busy_log(tmp_path / "log.csv"), tmp_path / "fit.png"
    assert main(["fit", "--log", str(path), "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["fit", "--log", str(path), "--plot", str(tmp_path / "fit.what")]) == 2
    assert "cannot write" in capsys.readouterr().err
