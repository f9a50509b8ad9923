"""Near-duplicates over a catalogue: what is read, kept and written."""

from __future__ import annotations

import csv
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embark.duplicates import anchors, tables
from embark.duplicates.finding import Group, Member
from embark.duplicates.items import Catalogue, Columns, Item, read_catalogue, read_labels
from embark.duplicates.report import Options, thumbnail, write_report
from embark.duplicates.work import Shelf
from embark.errors import ConfigurationError

MODEL = {"name": "m", "generation": "g1", "dimension": 3, "dtype": "float16"}


def catalogue_of(tmp_path: Path, content: bytes, name: str = "items.csv") -> Catalogue:
    (tmp_path / name).write_bytes(content)
    return read_catalogue(tmp_path / name, Columns())


def test_bad_rows_are_left_out_with_their_lines(tmp_path: Path) -> None:
    found = catalogue_of(
        tmp_path,
        b'\xef\xbb\xbfid,text,image\na,"two\nlines",\nb\n,no id,\nc,,\nd,\xff\xfe,\n'
        b"e,,https://a/b.png\nf,ok,x.jpg\n",
    )
    assert [item.id for item in found.items] == ["a", "e", "f"]
    assert found.items[0].text == "two\nlines"
    assert [row.line for row in found.bad_rows] == [4, 5, 6, 7]
    assert found.bad_rows[3].reason == "it is not UTF-8"
    assert found.image_path(found.items[1]) is None
    assert found.image_path(found.items[2]) == tmp_path / "x.jpg"


def test_lines_of_json_are_read_too(tmp_path: Path) -> None:
    rows = ['{"id": 7, "text": "a", "image": null}', "nonsense", '{"text": "b"}', "", "[1]"]
    found = catalogue_of(tmp_path, "\n".join(rows).encode(), "items.jsonl")
    assert found.items == [Item("7", "a", "")]
    assert [row.line for row in found.bad_rows] == [2, 3, 5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,text\na,x\nb,y\na,z\n", "the id 'a' is on line 2 and on line 4"),
        (
            b"sku;text\n1;x\n",
            "has no column id, text or image; its columns, separated by commas, are: sku;text",
        ),
        (b"id,title\n1,x\n", "has no column text or image"),
        (b"", "its columns, separated by commas, are: none"),
    ],
)
def test_an_unusable_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        catalogue_of(tmp_path, content)


def test_labels_name_items(tmp_path: Path) -> None:
    items = [Item("a", "x", ""), Item("b", "x", "")]
    path = tmp_path / "pairs.csv"
    path.write_text("id_a,id_b,duplicate\na,b,1\nb,a,0\na,c,1\na,a,1\na,b,yes\n")
    found = read_labels(path, items, 1)
    assert found.pairs == [(0, 1, True), (1, 0, False)]
    assert [row.line for row in found.bad_rows] == [4, 5, 6]
    with pytest.raises(ConfigurationError) as refused:
        read_labels(path, items, 2)
    for part in (
        "1 labelled duplicates and 1 labelled others; 2 of each are needed",
        "line 4: 'c' is no item's id",
        "line 6: duplicate is 'yes'; it must be 0 or 1",
    ):
        assert part in str(refused.value)


def test_a_shelf_keeps_what_has_come_and_belongs_to_one_generation(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, MODEL, ["a", "b", "c"])
    shelf.put(np.array([2]), np.array([[1, 2, 3]]))
    shelf.fail(0, "dead_url", "no such host")
    again = Shelf(tmp_path, MODEL, ["a", "b", "c"])
    assert again.waiting().tolist() == [1]
    assert again.here().tolist() == [False, False, True]
    assert again.vectors[2].tolist() == [1, 2, 3]
    assert again.failures == {0: ("dead_url", "no such host")}
    again.retry_failures()
    assert Shelf(tmp_path, MODEL, ["a", "b", "c"]).waiting().tolist() == [0, 1]
    other = Shelf(tmp_path, {**MODEL, "generation": "g2"}, ["a", "b", "c"])
    assert other.waiting().tolist() == [0, 1, 2]
    assert Shelf(tmp_path, MODEL, ["a", "b", "d"]).waiting().tolist() == [0, 1, 2]


def test_anchors_are_pictures_and_texts_that_differ() -> None:
    pictures = anchors.pictures()
    assert pictures == anchors.pictures()
    assert len(set(pictures)) == len(set(anchors.texts())) == anchors.COUNT
    for data in pictures[:6]:
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.convert("RGB").size == (96, 96)


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\x00\u202e"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.seen if tag == name]


def hostile(tmp_path: Path) -> tuple[Catalogue, list[Group]]:
    Image.new("RGB", (600, 300), (200, 30, 30)).save(tmp_path / "a.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    items = [
        Item(HOSTILE, HOSTILE, "a.png"),
        Item("url", "x" * 1000, 'http://a/"><script>alert(3)</script>'),
        Item("broken", "", "broken.jpg"),
        Item("bare", "text", ""),
    ]
    members = tuple(Member(number, 1 - number / 10, 0.5, None) for number in range(4))
    catalogue = Catalogue(tmp_path / "<b>items.csv", "", items, [])
    return catalogue, [Group(members), Group(members[2:])]


def page_of(tmp_path: Path, options: Options) -> tuple[str, Tags]:
    catalogue, groups = hostile(tmp_path)
    path = tmp_path / "report.html"
    write_report(path, catalogue, groups, [f"line 3: {HOSTILE}"], options)
    tags = Tags()
    tags.feed(path.read_text("utf-8"))
    return path.read_text("utf-8"), tags


def test_nothing_of_a_hostile_catalogue_runs_or_loads(tmp_path: Path) -> None:
    page, tags = page_of(tmp_path, Options(groups=10, remote_pictures=False))
    assert not tags.named("script")
    assert not [one for _, one in tags.seen if any(name.startswith("on") for name in one)]
    assert all(str(one["src"]).startswith("data:image/jpeg;base64,") for one in tags.named("img"))
    assert all(one["alt"] for one in tags.named("img"))
    assert "default-src 'none'" in page
    assert "\x00" not in page
    assert "\u202e" not in page
    assert len(tags.named("section")) == 3
    assert "the picture cannot be shown" in page


def test_pictures_at_urls_are_loaded_if_asked_for(tmp_path: Path) -> None:
    _, tags = page_of(tmp_path, Options(groups=10, remote_pictures=True))
    assert 'http://a/"><script>alert(3)</script>' in [one["src"] for one in tags.named("img")]
    assert not tags.named("script")


def test_a_report_says_what_it_leaves_out(tmp_path: Path) -> None:
    page, tags = page_of(tmp_path, Options(groups=1, remote_pictures=False))
    assert "Shown are the 1 largest; 1 are left out." in page
    assert len(tags.named("section")) == 2


def test_thumbnails_are_small(tmp_path: Path) -> None:
    hostile(tmp_path)
    small = thumbnail(tmp_path / "a.png")
    assert small is not None
    with Image.open(io.BytesIO(small)) as picture:
        assert picture.size == (144, 72)
    assert thumbnail(tmp_path / "broken.jpg") is None
    assert thumbnail(tmp_path / "absent.jpg") is None


def test_groups_are_written_as_csv_and_json(tmp_path: Path) -> None:
    catalogue, groups = hostile(tmp_path)
    tables.write(tmp_path / "g.csv", catalogue.items, groups, {})
    tables.write(tmp_path / "g.json", catalogue.items, groups, {"items": 4})
    with (tmp_path / "g.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["group"] for row in rows] == ["1"] * 4 + ["2"] * 2
    assert rows[0]["id"] == rows[1]["representative"] == HOSTILE
    assert (rows[1]["score"], rows[1]["text_cosine"], rows[1]["image_cosine"]) == ("0.9", "0.5", "")
    written = json.loads((tmp_path / "g.json").read_bytes())
    assert written["items"] == 4
    assert [len(group["members"]) for group in written["groups"]] == [4, 2]
