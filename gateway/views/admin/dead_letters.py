"""/v1/admin/dead-letters: see the requests that were given up, send them again, or forget them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

from flask import Blueprint, Response, request

from embark.errors import BadRequest
from embark.queue.base import DeadLetter, Queue
from gateway.body import read_body, refuse_unknown
from gateway.responses import json_response

_MOST = 1000
_DEFAULT = 100


def add(blueprint: Blueprint, queue: Queue) -> None:
    """Add the endpoints."""

    @blueprint.get("/dead-letters")
    def dead_letters() -> Response:
        limit = _limit()
        found = queue.dead(limit + 1)
        return json_response(
            {
                "dead_letters": [asdict(letter) for letter in found[:limit]],
                "more": len(found) > limit,
            }
        )

    @blueprint.post("/dead-letters/replay")
    def replay() -> Response:
        return json_response({"replayed": _apply(queue, queue.replay)})

    @blueprint.post("/dead-letters/purge")
    def purge() -> Response:
        return json_response({"purged": _apply(queue, queue.purge)})


def _limit() -> int:
    refuse_unknown(request.args, frozenset(("limit",)), "the query")
    given = request.args.get("limit", str(_DEFAULT))
    # Digits that are not ASCII, or very many, are no numbers here.
    if not (given.isascii() and given.isdecimal() and len(given) < 6 and 1 <= int(given) <= _MOST):
        raise BadRequest(f"limit must be an integer from 1 to {_MOST}", code="invalid_limit")
    return int(given)


def _apply(queue: Queue, change: Callable[[Sequence[DeadLetter]], int]) -> int:
    """Change the letters that the request names, and return how many there were.

    Only those among the latest can be named: that is what a listing shows. A name that is gone was
    somebody else's click, not an error.
    """
    names = read_body(frozenset(("names",))).get("names")
    if (
        not isinstance(names, list)
        or not 1 <= len(names) <= _MOST
        or not all(isinstance(name, str) for name in names)
    ):
        raise BadRequest(
            f"names must be a list of 1 to {_MOST} names of dead letters", code="invalid_names"
        )
    wanted = set(names)
    # Letters that have died since the listing must not push the named ones out.
    chosen = [letter for letter in queue.dead(10 * _MOST) if letter.name in wanted]
    return change(chosen) if chosen else 0
