"""`embark tune`: becomes `python -m export.tuning`, which needs the `export` extra."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, NoReturn

from embark.cli.export import require_exporter


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "tune",
        help="choose a model's instances and threads by measuring",
        add_help=False,
        prefix_chars="\0",
    )
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> NoReturn:
    """Become the tuner, so that Ctrl-C and SIGTERM reach what must clean up."""
    require_exporter()
    os.execv(sys.executable, [sys.executable, "-m", "export.tuning", *options.arguments])
