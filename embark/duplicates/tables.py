"""Groups as CSV and as JSON."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from embark.duplicates.finding import Group, Member
from embark.duplicates.items import Item
from embark.errors import ConfigurationError

COLUMNS = ("group", "id", "representative", "score", "text_cosine", "image_cosine")


def rows(items: Sequence[Item], groups: Sequence[Group]) -> Iterator[dict[str, Any]]:
    """Yield a row for each item that is in a group; `representative` is an id."""
    for number, group in enumerate(groups, 1):
        representative = items[group.members[0].item].id
        for member in group.members:
            yield {
                "group": number,
                "id": items[member.item].id,
                "representative": representative,
                **_numbers(member),
            }


def as_json(items: Sequence[Item], groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return the groups with their members."""
    return [
        {
            "group": number,
            "representative": items[group.members[0].item].id,
            "members": [
                {"id": items[member.item].id, **_numbers(member)} for member in group.members
            ],
        }
        for number, group in enumerate(groups, 1)
    ]


def write(path: Path, items: Sequence[Item], groups: Sequence[Group], rest: dict[str, Any]) -> None:
    """Write the groups: JSON if the file's name ends so, else CSV.

    Args:
        path: replaced if it is there.
        items: the catalogue.
        groups: of its items.
        rest: what JSON says besides.

    Raises:
        ConfigurationError: it cannot be written.
    """
    try:
        if path.suffix.lower() == ".json":
            whole = {**rest, "groups": as_json(items, groups)}
            path.write_bytes(orjson.dumps(whole, option=orjson.OPT_INDENT_2) + b"\n")
            return
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            table.writerows(rows(items, groups))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None


def _numbers(member: Member) -> dict[str, float | None]:
    return {
        "score": round(member.score, 4),
        "text_cosine": _rounded(member.text_cosine),
        "image_cosine": _rounded(member.image_cosine),
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 4)
