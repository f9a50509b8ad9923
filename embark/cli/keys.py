"""`embark keys`: the API keys that a gateway accepts, in the file that it reads."""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from rich.table import Table

from embark.api_keys import ApiKey, Scope, changing, new_key, read_keys, write_keys
from embark.cli.numbers import between, finite
from embark.cli.output import console, show_json
from embark.config import load
from embark.errors import BadRequest, ConfigurationError

_DEFAULT_KEEP_HOURS = 24.0
_MOST_DAYS = 36_500


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "keys",
        help="make, list, rotate and revoke API keys",
        description="The API keys that a gateway accepts. Gateways follow a change of the file"
        " within a second.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="make a key; its secret is printed once")
    add.add_argument("name", help="who it is for")
    add.add_argument(
        "--scope",
        action="append",
        choices=[scope.value for scope in Scope],
        required=True,
        help="read: lookups that queue nothing; enqueue: misses and prefetches are queued;"
        " admin: /v1/admin (may be repeated)",
    )
    add.add_argument("--days", type=_days, help="how long it is valid (default: for ever)")
    add.add_argument("--requests-per-second", type=finite, help="in each gateway")
    add.add_argument("--concurrent", type=int, help="requests at once, in each gateway")
    rotate = actions.add_parser("rotate", help="make a new secret for a name")
    rotate.add_argument("name", help="whose key")
    rotate.add_argument(
        "--keep-hours",
        type=_hours,
        default=_DEFAULT_KEEP_HOURS,
        help="how long the old secret is valid beside it (default: 24)",
    )
    revoke = actions.add_parser("revoke", help="refuse a name's keys from now on")
    revoke.add_argument("name", help="whose keys")
    listing = actions.add_parser("list", help="show the keys, without secrets")
    for action, run in ((add, _add), (rotate, _rotate), (revoke, _revoke), (listing, _list)):
        action.add_argument("--file", type=Path, help="default: gateway.keys_file")
        action.add_argument("--json", action="store_true", help="print JSON")
        action.set_defaults(run=run)


def _days(text: str) -> float:
    return between(text, 1 / 86_400, _MOST_DAYS)


def _hours(text: str) -> float:
    return between(text, 0, _MOST_DAYS * 24)


def _add(options: argparse.Namespace) -> int:
    path = _path(options)
    with changing(path):
        keys = read_keys(path) if path.exists() else ()
        if any(key.name == options.name for key in keys):
            raise BadRequest(f"{options.name} has a key; `embark keys rotate` makes another secret")
        key, secret = new_key(
            options.name,
            map(Scope, options.scope),
            expires=None if options.days is None else _in(timedelta(days=options.days)),
            requests_per_second=options.requests_per_second,
            concurrent=options.concurrent,
        )
        write_keys(path, (*keys, key))
    return _show_secret(options, key, secret)


def _rotate(options: argparse.Namespace) -> int:
    path = _path(options)
    ends = _in(timedelta(hours=options.keep_hours))
    with changing(path):
        keys = read_keys(path)
        newest = max(_of(keys, options.name), key=lambda key: key.created)
        if newest.is_over(datetime.now(timezone.utc)):
            raise BadRequest(f"the key of {options.name} is over; revoke it and add another")
        key, secret = new_key(
            newest.name,
            newest.scopes,
            expires=newest.expires,
            requests_per_second=newest.requests_per_second,
            concurrent=newest.concurrent,
        )
        kept = [_until(old, ends) if old.name == options.name else old for old in keys]
        now = datetime.now(timezone.utc)
        write_keys(path, [*(one for one in kept if not one.is_over(now)), key])
    return _show_secret(options, key, secret)


def _revoke(options: argparse.Namespace) -> int:
    path = _path(options)
    with changing(path):
        keys = read_keys(path)
        gone = _of(keys, options.name)
        write_keys(path, [key for key in keys if key.name != options.name])
    if options.json:
        show_json({"revoked": len(gone)})
    else:
        console.print(f"revoked; {len(gone)} secret{'s' if len(gone) > 1 else ''} less")
    return 0


def _list(options: argparse.Namespace) -> int:
    keys = read_keys(_path(options))
    if options.json:
        show_json({"keys": [_described(key) for key in keys]})
        return 0
    table = Table("name", "id", "scopes", "created", "expires", "limits", box=None)
    now = datetime.now(timezone.utc)
    for key in keys:
        ends = "" if key.expires is None else f"{key.expires:%Y-%m-%d %H:%M}Z"
        state = f"{ends} (over)" if key.is_over(now) else ends
        made = f"{key.created:%Y-%m-%d %H:%M}Z"
        table.add_row(key.name, key.id, ", ".join(_scopes(key)), made, state, _limits(key))
    console.print(table)
    return 0


def _path(options: argparse.Namespace) -> Path:
    path: Path | None = options.file or load().settings.gateway.keys_file
    if path is None:
        raise ConfigurationError("no file: give --file, or set gateway.keys_file")
    return path


def _of(keys: tuple[ApiKey, ...], name: str) -> list[ApiKey]:
    found = [key for key in keys if key.name == name]
    if not found:
        raise BadRequest(f"nobody named {name!r} has a key")
    return found


def _until(key: ApiKey, ends: datetime) -> ApiKey:
    sooner = ends if key.expires is None else min(key.expires, ends)
    return key.model_copy(update={"expires": sooner})


def _in(time: timedelta) -> datetime:
    return (datetime.now(timezone.utc) + time).replace(microsecond=0)


def _scopes(key: ApiKey) -> list[str]:
    return [scope.value for scope in Scope if scope in key.scopes]


def _limits(key: ApiKey) -> str:
    parts = []
    if key.requests_per_second is not None:
        parts.append(f"{key.requests_per_second:g}/s")
    if key.concurrent is not None:
        parts.append(f"{key.concurrent} at once")
    return ", ".join(parts)


def _described(key: ApiKey) -> dict[str, Any]:
    return {**key.model_dump(mode="json", exclude={"sha256", "scopes"}), "scopes": _scopes(key)}


def _show_secret(options: argparse.Namespace, key: ApiKey, secret: str) -> int:
    if options.json:
        show_json({**_described(key), "secret": secret})
    else:
        console.print(secret)
    return 0
