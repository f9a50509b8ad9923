"""Groups as one HTML page with the pictures side by side.

Nothing in a catalogue is trusted: texts and names are escaped, pictures are decoded here and
written again as small JPEGs, and the page may load nothing from elsewhere unless that is asked for.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from embark.duplicates.finding import Group, Member
from embark.duplicates.items import Catalogue, Item, is_url
from embark.errors import ConfigurationError

_SIDE = 144
_QUALITY = 75
_SHOWN_MEMBERS = 12
_SHOWN_CHARACTERS = 300
_SHOWN_PROBLEMS = 100

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8881; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 75rem; padding: 1rem; }
section { border-top: 1px solid var(--line); padding: .5rem 0 1rem; }
h2 { font-size: 1.05rem; }
ul.row { display: flex; gap: .75rem; list-style: none; margin: 0; overflow-x: auto; }
ul.row { padding: .25rem; }
ul.row > li { background: var(--soft); border-radius: .5rem; flex: 0 0 11rem; padding: .6rem; }
ul.row > li:first-child { outline: 2px solid; }
figure { align-items: center; display: flex; height: 9rem; justify-content: center; margin: 0; }
img { max-height: 9rem; max-width: 100%; }
p { margin: .4rem 0 0; overflow-wrap: anywhere; white-space: pre-line; }
.id { font-weight: 600; } .why { font-size: .85em; opacity: .85; }
:focus-visible { outline: 3px solid Highlight; }
"""


@dataclass(frozen=True)
class Options:
    """What a report holds.

    Attributes:
        groups: most groups; the largest are shown.
        remote_pictures: whether pictures at URLs are loaded when the page is opened; else they are
            links.
    """

    groups: int
    remote_pictures: bool


def require_pillow() -> None:
    """Raise ConfigurationError if pictures cannot be made smaller, for want of Pillow."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise ConfigurationError(
            "a report needs Pillow: pip install 'embark[duplicates]'"
        ) from None


def write_report(
    path: Path,
    catalogue: Catalogue,
    groups: Sequence[Group],
    problems: Sequence[str],
    options: Options,
) -> None:
    """Write the page.

    Args:
        path: replaced if it is there.
        catalogue: what was searched.
        groups: what was found.
        problems: a sentence for each row or item that was left out.
        options: how much is shown.

    Raises:
        ConfigurationError: it cannot be written.
    """
    try:
        with path.open("w", encoding="utf-8") as file:
            for part in _page(catalogue, groups, problems, options):
                file.write(part)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None


def _page(
    catalogue: Catalogue, groups: Sequence[Group], problems: Sequence[str], options: Options
) -> Iterator[str]:
    sources = "data: http: https:" if options.remote_pictures else "data:"
    grouped = sum(len(group.members) for group in groups)
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\';'
        f" style-src 'unsafe-inline'; img-src {sources}\">\n"
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>Duplicates in {_safe(catalogue.path.name)}</title>\n<style>{_STYLE}</style>\n"
        f"</head>\n<body>\n<h1>Duplicates in <bdi>{_safe(catalogue.path.name)}</bdi></h1>\n"
        f"<p>{len(groups)} groups, {grouped} of {len(catalogue.items)} items. The first of a group"
        " is its representative; the others' scores and cosines are with it.</p>\n"
    )
    shown = groups[: options.groups]
    if len(shown) < len(groups):
        rest = len(groups) - len(shown)
        yield f"<p>Shown are the {len(shown)} largest; {rest} are left out.</p>\n"
    yield "<main>\n"
    for number, group in enumerate(shown, 1):
        yield _section(number, group, catalogue, options)
    yield "</main>\n"
    yield from _problems(problems)
    yield "</body>\n</html>\n"


def _section(number: int, group: Group, catalogue: Catalogue, options: Options) -> str:
    members = group.members[:_SHOWN_MEMBERS]
    cards = "".join(_card(member, catalogue, options) for member in members)
    rest = len(group.members) - len(members)
    more = f"<p>{rest} more are left out here.</p>\n" if rest else ""
    return (
        f'<section aria-labelledby="g{number}">\n<h2 id="g{number}">Group {number}:'
        f' {len(group.members)} items</h2>\n<ul class="row" tabindex="0"'
        f' aria-label="Items of group {number}">\n{cards}</ul>\n{more}</section>\n'
    )


def _card(member: Member, catalogue: Catalogue, options: Options) -> str:
    item = catalogue.items[member.item]
    why = f"score {member.score:.2f}"
    for name, cosine in (("text", member.text_cosine), ("image", member.image_cosine)):
        why += f", {name} {cosine:.2f}" if cosine is not None else ""
    return (
        f"<li><figure>{_picture(item, catalogue, options)}</figure>\n"
        f'<p class="id"><bdi>{_safe(item.id)}</bdi></p>\n<p><bdi>{_safe(item.text)}</bdi></p>\n'
        f'<p class="why">{why}</p></li>\n'
    )


def _picture(item: Item, catalogue: Catalogue, options: Options) -> str:
    described = f'alt="picture of {_safe(item.id)}"'
    if is_url(item.image):
        url = escape(item.image)
        if options.remote_pictures:
            return f'<img src="{url}" {described} loading="lazy">'
        return (
            f'<a href="{url}" rel="noreferrer noopener">picture of <bdi>{_safe(item.id)}</bdi></a>'
        )
    path = catalogue.image_path(item)
    if path is None:
        return "no picture"
    small = thumbnail(path)
    if small is None:
        return "the picture cannot be shown"
    data = base64.b64encode(small).decode("ascii")
    return f'<img src="data:image/jpeg;base64,{data}" {described}>'


def thumbnail(path: Path) -> bytes | None:
    """Return a small JPEG of a picture, None if it cannot be decoded."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            # A picture with far more pixels than bytes is no picture to show.
            warnings.simplefilter("error")
            with Image.open(path) as opened:
                opened.draft("RGB", (_SIDE * 2, _SIDE * 2))
                turned: Any = ImageOps.exif_transpose(opened)
                small = turned.convert("RGB")
                small.thumbnail((_SIDE, _SIDE))
                file = io.BytesIO()
                small.save(file, "JPEG", quality=_QUALITY)
                return file.getvalue()
    except Exception:  # Decoders of many formats raise whatever they like at a broken file.
        return None


def _problems(problems: Sequence[str]) -> Iterator[str]:
    if not problems:
        return
    yield f"<section>\n<h2>Left out: {len(problems)}</h2>\n<ul>\n"
    for problem in problems[:_SHOWN_PROBLEMS]:
        yield f"<li><bdi>{_safe(problem)}</bdi></li>\n"
    yield "</ul>\n"
    if len(problems) > _SHOWN_PROBLEMS:
        yield f"<p>and {len(problems) - _SHOWN_PROBLEMS} more.</p>\n"
    yield "</section>\n"


def _safe(text: str) -> str:
    """Return a text for HTML, of bounded length, without control characters."""
    short = text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"
    return escape("".join(one if one.isprintable() or one in "\n\t" else "\ufffd" for one in short))
