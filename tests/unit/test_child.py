"""A supervised process: restarted, reported, stopped, and its log kept."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embark.child import Child
from embark.errors import ConfigurationError
from embark.platform import only_one
from embark.triton import Command, TritonPorts, triton_command
from tests.support.stack import wait_until

SLEEP = "import time; print('started', flush=True); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"

Make = Callable[[str], Child]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def make(tmp_path: Path, said: list[str]) -> Iterator[Make]:
    made: list[Child] = []

    def make_one(program: str) -> Child:
        command = Command([sys.executable, "-c", program], dict(os.environ))
        made.append(Child("child", command, tmp_path / "logs" / "child.log", said.append))
        return made[-1]

    yield make_one
    for child in made:
        child.kill()
        child.stop(5)


def test_a_killed_process_is_reported_and_started_again(make: Make, said: list[str]) -> None:
    child = make(SLEEP)
    child.start()
    first = child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)

    def is_back() -> bool:
        child.watch()
        return child.pid not in (None, first)

    wait_until(is_back, 60, "it runs again")
    assert "child stopped (killed by SIGKILL); starting again in 0.5 s" in said


def test_the_delay_doubles_and_a_loop_shows_the_last_lines(make: Make, said: list[str]) -> None:
    child = make("print('no luck'); raise SystemExit(3)")
    child._start_at = 0.0

    def has_looped() -> bool:
        if child._start_at is not None:
            child._start_at = 0.0
        child.watch()
        return any("5 times in a row" in line for line in said)

    wait_until(has_looped, 60, "five deaths")
    delays = [line.rpartition(" in ")[2] for line in said if "exit status 3" in line]
    assert delays[:5] == ["0.5 s", "1 s", "2 s", "4 s", "8 s"]
    assert any("no luck" in line for line in said if "in a row" in line)


def test_output_is_shown_and_logged(make: Make, said: list[str], tmp_path: Path) -> None:
    child = make(SLEEP)
    child.start()
    wait_until(lambda: "child | started" in said, 60, "its line is shown")
    child.stop(5)
    assert (tmp_path / "logs" / "child.log").read_text() == "started\n"


def test_what_does_not_end_is_killed(make: Make, said: list[str]) -> None:
    child = make(STUBBORN)
    child.start()
    wait_until(lambda: "child | started" in said, 60, "it runs")
    started = time.monotonic()
    child.stop(0.3)
    assert child.pid is None
    assert time.monotonic() - started < 30
    assert any("is killed" in line for line in said)


def test_one_folder_has_one_platform(tmp_path: Path) -> None:
    refused = pytest.raises(ConfigurationError, match=str(os.getpid()))
    with only_one(tmp_path), refused, only_one(tmp_path):
        pass
    with only_one(tmp_path):
        pass


def test_a_missing_retina_environment_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="make retina"):
        triton_command(tmp_path, tmp_path, tmp_path, TritonPorts(1, 2, 3), "x")
