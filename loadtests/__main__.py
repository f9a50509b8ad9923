"""`python -m loadtests`: checks the files, then becomes Locust with everything set."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from embark.errors import EmbArkError
from loadtests.options import DEFAULT_OBJECTIVES, read_test

_LOCUSTFILE = Path(__file__).parent / "locustfile.py"
_WRONG_FILES = 2


def main() -> int:
    """Replace this process by Locust; returns only when a file is wrong: 2."""
    ours, theirs = _split(sys.argv[1:])
    options = _parse(ours)
    try:
        read_test(options)
    except EmbArkError as error:
        print(f"loadtests: {error.message}", file=sys.stderr)
        return _WRONG_FILES
    os.execv(sys.executable, _command(options) + theirs)


def _split(given: list[str]) -> tuple[list[str], list[str]]:
    """Return what stands before and after `--`; argparse would take the latter for positionals."""
    at = given.index("--") if "--" in given else len(given)
    return given[:at], given[at + 1 :]


def _parse(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests",
        description="Run a load test and hold it to its objectives.",
        epilog="What stands after -- goes to Locust. Exit status: 0 every objective is met, 1 one"
        " is not, 2 a file or the service is not what it must be.",
    )
    parser.add_argument("scenario", help="a file, or the name of a shipped one")
    parser.add_argument("--host", default="http://127.0.0.1:8080", help="the gateway's URL")
    parser.add_argument("--score-host", default="", help="the scoring service (default: --host)")
    parser.add_argument(
        "--objectives", type=Path, default=DEFAULT_OBJECTIVES, help="file of objectives"
    )
    parser.add_argument("--html", type=Path, help="write a page about the test to this file")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    parser.add_argument("--workers", type=int, default=1, help="processes that send (default: 1)")
    parser.add_argument(
        "--on-event", action="append", default=[], metavar="NAME=COMMAND",
        help="shell command that an event of the scenario runs; may be repeated",
    )  # fmt: skip
    options = parser.parse_args(given)
    if options.workers < 1:
        parser.error(f"--workers must be 1 or more, not {options.workers}")
    return options


def _command(options: argparse.Namespace) -> list[str]:
    command = [sys.executable, "-m", "locust", "-f", str(_LOCUSTFILE), "--headless"]
    # Locust's own tables round to two digits, and would stand beside ours.
    command += ["--only-summary", "--json-file", os.devnull, "--loglevel", "WARNING"]
    command += ["--scenario", options.scenario, "--objectives", str(options.objectives)]
    command += ["--host", options.host, "--score-host", options.score_host]
    for name, path in (("--report", options.html), ("--result", options.json)):
        command += [name, str(path)] if path else []
    for one in options.on_event:
        command += ["--on-event", one]
    if options.workers > 1:
        command += ["--processes", str(options.workers)]
    return command


if __name__ == "__main__":
    sys.exit(main())
