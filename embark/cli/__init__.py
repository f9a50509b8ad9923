"""The command line, `embark`: one module for each command."""

from __future__ import annotations

import argparse
import sys

from embark import log
from embark.cli import (
    archive,
    cluster,
    doctor,
    duplicates,
    export,
    fit,
    invalidate,
    keys,
    lookup,
    models,
    prefetch,
    queue,
    schema,
    tune,
    up,
)
from embark.cli.output import show_error
from embark.errors import BadRequest, ConfigurationError, EmbArkError, ServiceError
from embark.version import __version__

_COMMANDS = (
    up,
    lookup,
    prefetch,
    models,
    invalidate,
    keys,
    duplicates,
    queue,
    schema,
    cluster,
    archive,
    export,
    tune,
    fit,
    doctor,
)
_USAGE, _FAILED, _INTERRUPTED = 2, 1, 130


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit status: 0 done, 1 failed, 2 wrong usage or configuration."""
    parser = argparse.ArgumentParser(
        prog="embark", description="Serve the embeddings of slow neural models at once."
    )
    parser.add_argument("--version", action="version", version=f"embark {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(commands)
    options = parser.parse_args(arguments)
    log.configure(level="warning", form="console", process="embark")
    try:
        return int(options.run(options))
    except EmbArkError as error:
        show_error(error, as_json=getattr(options, "json", False))
        return _USAGE if _is_usage(error) else _FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return _FAILED


def _is_usage(error: EmbArkError) -> bool:
    if isinstance(error, ServiceError):
        return 400 <= error.status < 500
    return isinstance(error, ConfigurationError | BadRequest)
