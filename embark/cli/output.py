"""What the commands print: JSON, tables, errors."""

from __future__ import annotations

import sys
from typing import Any

import orjson
from rich.console import Console

from embark.errors import EmbArkError

console = Console(highlight=False, markup=False)
progress_console = Console(stderr=True, highlight=False, markup=False)


def show_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode() + "\n")
    sys.stdout.flush()


def show_error(error: EmbArkError, *, as_json: bool) -> None:
    """Print an error, without a traceback."""
    if as_json:
        show_json({"error": {"code": error.code, "message": error.message}})
    else:
        print(f"embark: {error.message}", file=sys.stderr)
