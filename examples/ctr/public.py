"""A public set of real clicks, if the user has one: MIND, Microsoft's news, from a local folder.

https://msnews.github.io: `behaviors.tsv` has impression id, user, time, history and impressions
such as `N123-1 N45-0`, 1 for a click; `news.tsv` has news id, category, subcategory, title,
abstract, URL and entities. It has texts and no pictures, and no truth. Nothing is downloaded.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embark.errors import ConfigurationError
from examples.ctr.impressions import SEGMENTS, Impressions

_TIME = "%m/%d/%Y %I:%M:%S %p"
_NEWS_COLUMNS = 4
_BEHAVIOUR_COLUMNS = 5
_START = datetime(1970, 1, 1)


@dataclass(frozen=True)
class News:
    """News items; a subcategory stands for the advertiser. Arrays have the shape (items,).

    Attributes:
        category, advertiser: numbers of category and subcategory.
        titles: the texts.
    """

    category: npt.NDArray[np.int32]
    advertiser: npt.NDArray[np.int32]
    titles: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.titles)

    def text(self, item: int) -> str:
        """Return an item's title."""
        return self.titles[item]


def load_mind(folder: Path) -> tuple[News, Impressions]:
    """Return MIND's items and impressions.

    Times count from the midnight before the first impression; users are put into `SEGMENTS`
    segments by a hash of their id; the truth is unknown, NaN.

    Raises:
        ConfigurationError: a file is missing, or a line is not of the documented form; the message
            says which.
    """
    number, news = _news(folder / "news.tsv")
    times, users, items, clicks = [], [], [], []
    for where, user, time, pairs in _behaviours(folder / "behaviors.tsv"):
        for pair in pairs.split():
            name, _, click = pair.rpartition("-")
            if name not in number or click not in ("0", "1"):
                raise ConfigurationError(f"{where}: {pair!r} is no known news id with -0 or -1")
            times.append(time)
            users.append(zlib.crc32(user.encode()) % SEGMENTS)
            items.append(number[name])
            clicks.append(click == "1")
    if not times:
        raise ConfigurationError(f"{folder / 'behaviors.tsv'} has no impression")
    order = np.argsort(times, kind="stable")
    time_s = np.array(times)[order]
    return news, Impressions(
        time_s=time_s - time_s[0] // 86_400 * 86_400,
        user=np.array(users, np.int32)[order],
        item=np.array(items, np.int32)[order],
        click=np.array(clicks, np.bool_)[order],
        truth=np.full(len(times), np.nan, np.float32),
    )


def _news(path: Path) -> tuple[dict[str, int], News]:
    number: dict[str, int] = {}
    titles, categories, subcategories = [], [], []
    for where, row in _rows(path, _NEWS_COLUMNS):
        if row[0] in number:
            raise ConfigurationError(f"{where}: news {row[0]!r} is there twice")
        number[row[0]] = len(number)
        categories.append(row[1])
        subcategories.append(row[2])
        titles.append(row[3])
    if not number:
        raise ConfigurationError(f"{path} has no news")
    return number, News(_numbered(categories), _numbered(subcategories), tuple(titles))


def _behaviours(path: Path) -> Iterator[tuple[str, str, float, str]]:
    """Yield where it is, user, seconds since 1970 and impressions of each line."""
    for where, row in _rows(path, _BEHAVIOUR_COLUMNS):
        try:
            time = (datetime.strptime(row[2], _TIME) - _START).total_seconds()
        except ValueError:
            raise ConfigurationError(
                f"{where}: {row[2]!r} is no time such as 11/13/2019 8:36:57 AM"
            ) from None
        yield where, row[1], time, row[4]


def _rows(path: Path, columns: int) -> Iterator[tuple[str, list[str]]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            for number, row in enumerate(lines, 1):
                if len(row) < columns:
                    raise ConfigurationError(
                        f"{path} line {number} has {len(row)} columns; {columns} are needed"
                    )
                yield f"{path} line {number}", row
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None


def _numbered(names: list[str]) -> npt.NDArray[np.int32]:
    return np.unique(names, return_inverse=True)[1].astype(np.int32)
