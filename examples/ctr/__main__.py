"""Dispatches a command to its module: `python -m examples.ctr COMMAND`; each has `--help`."""

from __future__ import annotations

import argparse
import importlib
import sys

from embark.errors import EmbArkError

_COMMANDS = {
    "generate": "make a catalogue and its impressions, and say what is in them",
    "train": "train, export and evaluate the model",
    "serve": "run the scoring service",
    "slo": "drive the scoring service and hold it to its objective",
    "simulate": "test the three assumptions over time",
}
_FAILED, _USAGE, _INTERRUPTED = 1, 2, 130


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit status: 0 done, 1 failed, 2 wrong usage."""
    given = sys.argv[1:] if arguments is None else arguments
    if not given or given[0] not in _COMMANDS:
        lines = "\n".join(f"  {name:10} {text}" for name, text in _COMMANDS.items())
        print(f"usage: python -m examples.ctr COMMAND [--help]\n\n{lines}")
        return 0 if given[:1] in (["-h"], ["--help"]) else _USAGE
    name = given[0]
    module = importlib.import_module(f"examples.ctr.{name}")
    parser = argparse.ArgumentParser(
        prog=f"python -m examples.ctr {name}", description=_COMMANDS[name].capitalize() + "."
    )
    module.add_arguments(parser)
    try:
        return int(module.run(parser.parse_args(given[1:])))
    except EmbArkError as error:
        print(f"{name}: {error.message}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
