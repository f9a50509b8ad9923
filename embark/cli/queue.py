"""`embark queue`: how much waits, and the dead letters: list, replay, purge."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from embark.backends import open_backends
from embark.cli.output import console, progress_console, show_json
from embark.config import load
from embark.errors import BadRequest
from embark.queue.base import DeadLetter, Queue

_ALL = 10**9


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("queue", help="show the queue, and see to its dead letters")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _options(actions.add_parser("status", help="how much waits, by lane and topic"), status)
    letters = actions.add_parser("dead", help="requests that were given up")
    verbs = letters.add_subparsers(dest="verb", required=True, metavar="VERB")
    listing = verbs.add_parser("list", help="the latest, latest first")
    listing.add_argument("--limit", type=int, default=50, help="how many (default: 50)")
    listing.add_argument("--reason", help="only those with this reason")
    _options(listing, show_dead)
    for verb, run, text in (
        ("replay", replay, "queue them again as first attempts"),
        ("purge", purge, "forget them"),
    ):
        chosen = verbs.add_parser(verb, help=text)
        chosen.add_argument("keys", nargs="*", metavar="KEY", help="printed keys")
        chosen.add_argument("--reason", help="all with this reason")
        chosen.add_argument("--all", action="store_true", help="all")
        _options(chosen, run)


def status(options: argparse.Namespace) -> int:
    """Print each lane."""
    with _queue(options) as queue:
        lanes = queue.status()
    if options.json:
        show_json({"lanes": {lane.value: asdict(state) for lane, state in lanes.items()}})
        return 0
    table = Table("lane", "waits", "oldest", "of it", box=None)
    for lane, state in lanes.items():
        parts = ", ".join(f"{name} {count}" for name, count in state.parts.items())
        table.add_row(lane.value, str(state.depth), f"{state.oldest_seconds:.1f} s", parts)
    console.print(table)
    return 0


def show_dead(options: argparse.Namespace) -> int:
    """Print the latest dead letters."""
    with _queue(options) as queue:
        letters = _with_reason(queue.dead(_ALL), options.reason)[: max(0, options.limit)]
    if options.json:
        show_json({"dead": [asdict(letter) for letter in letters]})
        return 0
    table = Table("died", "lane", "attempts", "reason", "key", "detail", box=None)
    for letter in letters:
        died = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(letter.died_at))
        table.add_row(
            died,
            letter.lane.value,
            str(letter.attempt),
            letter.code,
            letter.key,
            letter.message,
        )
    console.print(table)
    return 0


def replay(options: argparse.Namespace) -> int:
    """Queue chosen dead letters again."""
    with _queue(options) as queue, progress_console.status("replaying"):
        count = queue.replay(_chosen(queue, options))
    return _report(options, "replayed", count)


def purge(options: argparse.Namespace) -> int:
    """Forget chosen dead letters."""
    with _queue(options) as queue, progress_console.status("purging"):
        count = queue.purge(_chosen(queue, options))
    return _report(options, "purged", count)


def _options(parser: argparse.ArgumentParser, run: Any) -> None:
    parser.add_argument("--config", type=Path, help="TOML file with settings")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


@contextmanager
def _queue(options: argparse.Namespace) -> Iterator[Queue]:
    with closing(open_backends(load(file=options.config).settings)) as backends:
        yield backends.queue


def _chosen(queue: Queue, options: argparse.Namespace) -> list[DeadLetter]:
    if not options.keys and not options.reason and not options.all:
        raise BadRequest("say which dead letters: a KEY, --reason or --all")
    letters = _with_reason(queue.dead(_ALL), options.reason)
    if not options.keys:
        return letters
    wanted = set(options.keys)
    missing = wanted - {letter.key for letter in letters}
    if missing:
        raise BadRequest(f"no dead letter has the key {min(missing)}; see `embark queue dead list`")
    return [letter for letter in letters if letter.key in wanted]


def _with_reason(letters: Sequence[DeadLetter], reason: str | None) -> list[DeadLetter]:
    return [letter for letter in letters if reason is None or letter.code == reason]


def _report(options: argparse.Namespace, done: str, count: int) -> int:
    if options.json:
        show_json({done: count})
    else:
        console.print(f"{count} {done}")
    return 0
