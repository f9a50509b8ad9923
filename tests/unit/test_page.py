"""How the page's files are served; what it does is in `tests/browser`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from tests.support.gateway import Service, service

FOLDER = Path(__file__).parents[2] / "gateway" / "page"
FILES = sorted(path.name for path in FOLDER.iterdir())
MOST_BYTES = 80 * 1000
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path) as opened:
        yield opened


def policy(answer: TestResponse) -> dict[str, str]:
    parts = answer.headers["Content-Security-Policy"].split(";")
    named = (part.strip().partition(" ") for part in parts)
    return {name: value for name, _, value in named}


def test_every_file_is_served_with_its_type_and_guarded(here: Service) -> None:
    for path in ["/", *(f"/page/{name}" for name in FILES)]:
        answer = here.http.get(path)
        content = (FOLDER / ("index.html" if path == "/" else path[6:])).read_bytes()
        assert (answer.status_code, answer.data) == (200, content)
        ending = Path(path).suffix or ".html"
        assert answer.content_type.partition(";")[0] == TYPES[ending]
        rules = policy(answer)
        assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'"
        assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
        assert rules["img-src"] == "'self' blob:"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_images_of_other_sites_are_allowed_only_where_they_are_asked_for(here: Service) -> None:
    assert policy(here.http.get("/?images=remote"))["img-src"] == "'self' blob: https:"
    for query in ("?images=all", "?image=remote", "?images=remote%20http:"):
        assert policy(here.http.get(f"/{query}"))["img-src"] == "'self' blob:"
    plain, remote = (here.http.get(path).headers["ETag"] for path in ("/", "/?images=remote"))
    assert plain != remote


def test_a_file_that_the_browser_has_is_not_sent_again(here: Service) -> None:
    for path in ("/", "/page/main.js"):
        first = here.http.get(path)
        assert first.headers["Cache-Control"] == "no-cache"
        again = here.http.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize("name", ["none.js", "..%2fapp.py", "../app.py", "%2e%2e/app.py", ""])
def test_nothing_but_the_page_is_below_its_path(here: Service, name: str) -> None:
    assert here.http.get(f"/page/{name}").status_code == 404


def test_the_page_is_small_and_names_no_other_host() -> None:
    texts = {name: (FOLDER / name).read_text("utf-8") for name in FILES}
    assert sum(len(text.encode()) for text in texts.values()) < MOST_BYTES
    for name, text in texts.items():
        addresses = set(re.findall(r"https?://[^\s\"'`]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", text), name


def test_every_part_of_the_page_is_used_and_there() -> None:
    page = (FOLDER / "index.html").read_text("utf-8")
    used = {"index.html", *re.findall(r"\"page/([\w.]+)\"", page)}
    for name in FILES:
        used |= set(re.findall(r"from \"\./([\w.]+)\"", (FOLDER / name).read_text("utf-8")))
    assert used == set(FILES)
