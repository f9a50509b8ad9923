"""`embark export`: runs `python -m export`, which needs the `export` extra."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

from embark.errors import ConfigurationError


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "export", help="export models to Triton", add_help=False, prefix_chars="\0"
    )
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the exporter with the same arguments."""
    require_exporter()
    return subprocess.run(
        [sys.executable, "-m", "export", *options.arguments], check=False
    ).returncode


def export_all(repository: Path) -> None:
    """Export every model, showing the steps.

    Raises:
        ConfigurationError: the exporter is not installed, or failed.
    """
    require_exporter()
    command = [sys.executable, "-m", "export", "--all", "--output", str(repository)]
    if subprocess.run(command, check=False).returncode != 0:
        raise ConfigurationError("exporting the models failed; the lines above say why")


def require_exporter() -> None:
    """Return if the exporter can run.

    Raises:
        ConfigurationError: it is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise ConfigurationError("exporting needs PyTorch: pip install 'embark[export]'")
