"""The programs of docs/protocols.md run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.protocols import photograph
from tests.support.stack import REPOSITORY, Stack

COMMANDS = {"python": [sys.executable, "-c"], "sh": ["sh", "-euc"]}
PROGRAMS = re.findall(
    r"^```(python|sh)\n(.*?)^```",
    (REPOSITORY.parent / "docs" / "protocols.md").read_text("utf-8"),
    re.MULTILINE | re.DOTALL,
)


@pytest.mark.parametrize("stack", ["embedded"], indirect=True)
@pytest.mark.parametrize(("language", "program"), PROGRAMS)
def test_it_runs_and_prints_what_it_found(
    stack: Stack, tmp_path: Path, language: str, program: str
) -> None:
    (tmp_path / "photo.jpg").write_bytes(photograph())
    adapted = program.replace("localhost:8080", stack.url.removeprefix("http://"))
    assert adapted != program
    ran = subprocess.run(
        [*COMMANDS[language], adapted],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()
