"""Reads a catalogue, as CSV or as lines of JSON, and pairs that somebody has labelled.

A row that cannot be used is reported with its line and left out; it never stops the others.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from embark.errors import ConfigurationError

_URL_SCHEMES = ("http://", "https://")
_DIGEST_BYTES = 16
_SHOWN_ROWS = 10

Row = Mapping[str, str]


@dataclass(frozen=True)
class Columns:
    """Names of the columns that are read."""

    id: str = "id"
    text: str = "text"
    image: str = "image"


@dataclass(frozen=True, slots=True)
class Item:
    """One item.

    Attributes:
        id: unlike every other's.
        text: empty if it has none.
        image: path or URL, empty if it has none.
    """

    id: str
    text: str
    image: str


@dataclass(frozen=True)
class BadRow:
    """A row that was left out: the line of the file that it ends on, and why."""

    line: int
    reason: str


@dataclass(frozen=True)
class Catalogue:
    """A catalogue that was read.

    Attributes:
        path: the file; pictures' paths are relative to its folder.
        digest: hexadecimal, of the file's bytes.
        items: in the file's order.
        bad_rows: what was left out.
    """

    path: Path
    digest: str
    items: list[Item]
    bad_rows: list[BadRow]

    def image_path(self, item: Item) -> Path | None:
        """Return where an item's picture is, None for one without, or with a URL."""
        if not item.image or is_url(item.image):
            return None
        return self.path.parent / item.image


@dataclass(frozen=True)
class Labels:
    """Pairs of which somebody said whether they are duplicates.

    Attributes:
        pairs: positions of both items, and whether they are duplicates.
        bad_rows: what was left out, pairs of unknown items among them.
    """

    pairs: list[tuple[int, int, bool]]
    bad_rows: list[BadRow]


def is_url(image: str) -> bool:
    """Whether a picture is named by a URL rather than a path."""
    return image.lower().startswith(_URL_SCHEMES)


def read_catalogue(path: Path, columns: Columns) -> Catalogue:
    """Read a catalogue; `.jsonl` is lines of JSON objects, all else is CSV with a header; UTF-8.

    Raises:
        ConfigurationError: the file cannot be read, has not the columns, or has an id twice.
    """
    items: list[Item] = []
    bad_rows: list[BadRow] = []
    lines: dict[str, int] = {}
    for line, row in _rows(path, (columns.id,), (columns.text, columns.image)):
        item = row if isinstance(row, str) else _item(row, columns)
        if isinstance(item, str):
            bad_rows.append(BadRow(line, item))
            continue
        if item.id in lines:
            raise ConfigurationError(
                f"{path}: the id {item.id!r} is on line {lines[item.id]} and on line {line};"
                " ids must differ"
            )
        lines[item.id] = line
        items.append(item)
    return Catalogue(path, _digest(path), items, bad_rows)


def read_labels(path: Path, items: list[Item], least: int) -> Labels:
    """Read labelled pairs: the columns `id_a`, `id_b` and `duplicate`, which is 0 or 1.

    Args:
        path: CSV or `.jsonl`, as catalogues.
        items: what the ids name.
        least: how many duplicates, and how many others, there must be.

    Raises:
        ConfigurationError: the file cannot be read, or has not the columns, or too few pairs.
    """
    positions = {item.id: position for position, item in enumerate(items)}
    pairs: list[tuple[int, int, bool]] = []
    bad_rows: list[BadRow] = []
    for line, row in _rows(path, ("id_a", "id_b", "duplicate"), ()):
        reason = row if isinstance(row, str) else _why_no_label(row, positions)
        if reason is not None or isinstance(row, str):
            bad_rows.append(BadRow(line, reason or ""))
            continue
        ends = positions[row["id_a"]], positions[row["id_b"]]
        pairs.append((*ends, row["duplicate"].strip() == "1"))
    duplicates = sum(duplicate for _, _, duplicate in pairs)
    others = len(pairs) - duplicates
    if min(duplicates, others) < least:
        left_out = [f"\n  line {row.line}: {row.reason}" for row in bad_rows[:_SHOWN_ROWS]]
        raise ConfigurationError(
            f"{path} has {duplicates} labelled duplicates and {others} labelled others; {least} of"
            f" each are needed. Left out: {len(bad_rows)} lines{''.join(left_out)}"
        )
    return Labels(pairs, bad_rows)


def _item(row: Row, columns: Columns) -> Item | str:
    """Return the item of a row, or why there is none."""
    name = row.get(columns.id, "").strip()
    text, image = row.get(columns.text, ""), row.get(columns.image, "").strip()
    if not name:
        return f"it has no {columns.id}"
    if not text.strip() and not image:
        return f"{name!r} has neither {columns.text} nor {columns.image}"
    return Item(name, text if text.strip() else "", image)


def _why_no_label(row: Row, positions: Mapping[str, int]) -> str | None:
    ends = row["id_a"], row["id_b"]
    for end in ends:
        if end not in positions:
            return f"{end!r} is no item's id"
    if ends[0] == ends[1]:
        return f"both ids are {ends[0]!r}"
    if row["duplicate"].strip() not in ("0", "1"):
        return f"duplicate is {row['duplicate']!r}; it must be 0 or 1"
    return None


def _rows(
    path: Path, needed: tuple[str, ...], any_of: tuple[str, ...]
) -> Iterator[tuple[int, Row | str]]:
    """Yield each row with its line, or why it cannot be read."""
    try:
        # What is no UTF-8 becomes lone surrogates, so that it spoils its own row alone.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            if path.suffix.lower() == ".jsonl":
                rows = _json_rows(file, needed)
            else:
                rows = _csv_rows(path, file, needed, any_of)
            for line, row in rows:
                yield line, row if isinstance(row, str) or _is_utf8(row) else "it is not UTF-8"
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None


def _csv_rows(
    path: Path, file: TextIO, needed: tuple[str, ...], any_of: tuple[str, ...]
) -> Iterator[tuple[int, Row | str]]:
    reader = csv.reader(file, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise ConfigurationError(f"{path}: the header cannot be read: {error}") from None
    missing = [name for name in needed if name not in header]
    if any_of and not any(name in header for name in any_of):
        missing.append(" or ".join(any_of))
    if missing:
        raise ConfigurationError(
            f"{path} has no column {', '.join(missing)}; its columns, separated by commas, are:"
            f" {', '.join(header) or 'none'}"
        )
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield reader.line_num, f"it is not CSV: {error}"
            continue
        if row is None:
            return
        if len(row) == len(header):
            yield reader.line_num, dict(zip(header, row, strict=True))
        elif row:
            yield reader.line_num, f"it has {len(row)} fields; the header has {len(header)}"


def _json_rows(file: TextIO, needed: tuple[str, ...]) -> Iterator[tuple[int, Row | str]]:
    for number, line in enumerate(file, 1):
        if line.strip():
            yield number, _json_row(line, needed)


def _json_row(line: str, needed: tuple[str, ...]) -> Row | str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"it is not JSON: {error}"
    if not isinstance(row, dict):
        return "it is not a JSON object"
    kept = {name: "" if value is None else value for name, value in row.items()}
    for name, value in kept.items():
        if isinstance(value, bool | int):
            kept[name] = str(int(value))
    absent = [name for name in needed if not isinstance(kept.get(name), str)]
    if absent:
        return f"it has no {', '.join(absent)}"
    return {name: value for name, value in kept.items() if isinstance(value, str)}


def _is_utf8(row: Row) -> bool:
    try:
        "".join(row.values()).encode()
    except UnicodeEncodeError:
        return False
    return True


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()
