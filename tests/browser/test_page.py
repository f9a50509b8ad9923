"""The page at `/` in a real Chromium, on the whole platform.

What it shows of a gateway by itself is in `test_page_states.py`.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Locator, Page, expect
from skimage import data

from embark.client import Client, ImageUrl
from tests.browser.conftest import Open
from tests.conftest import ALLOWED_ORIGIN
from tests.integration.test_end_to_end import jpeg
from tests.support.browser import Tab
from tests.support.origin import answer, origin
from tests.support.stack import Stack, all_hits, repository_of, running, wait_until

pytestmark = pytest.mark.stack

PARTS = ("Gateway", "Archive", "Queue", "Consumers", "Retina")
NEAR = ["a red leather jacket for women", "red leather women's jacket", "<b>leather</b> jacket"]
SETTINGS = {
    "EMBARK_CONSUMER__FETCH__ALLOW_NETWORKS": f"{ALLOWED_ORIGIN}/32",
    "EMBARK_ARCHIVE__SOURCES__IMAGES": "true",
    "EMBARK_QUEUE__MAX_ATTEMPTS": "1",
    "EMBARK_CONSUMER__GAVE_UP_SECONDS": "1",
}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The platform with one model of each kind, in open mode."""
    repository = repository_of(tmp_path_factory.mktemp("models"), "minilm", "resnet50")
    with running(tmp_path_factory.mktemp("platform"), SETTINGS, repository) as stack:
        yield stack


@pytest.fixture
def tab(platform: Stack, open_tab: Open) -> Tab:
    return open_tab(platform.url)


def part(page: Page, name: str) -> Locator:
    return page.locator("#parts li").filter(has=page.locator("strong", has_text=name))


def see_steps(page: Page, *words: str) -> None:
    expect(page.locator("#steps .badge")).to_have_text(["Asked", *words])


@contextmanager
def kept_dead(platform: Stack, name: str) -> Iterator[None]:
    """Kill a part again and again: its supervisor starts it again and again."""
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(0.1):
            for process in platform.children(name):
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        stop.set()
        killer.join()


def test_one_glance_says_that_all_is_well_and_how_much_is_asked(platform: Stack, tab: Tab) -> None:
    page = tab.page
    expect(page.locator("#summary")).to_have_text("Everything works")
    for name in PARTS:
        expect(part(page, name).locator(".word")).to_have_text("up")
    with Client(platform.url) as client:
        texts = [f"asked {number}" for number in range(20)]
        client.prefetch(texts, "minilm")
        wait_until(lambda: all_hits(client, texts), 60, "all are hits")
        for _ in range(10):
            client.lookup(texts, "minilm")
    hit_rate = page.locator("figure").filter(has_text="Hit rate")
    expect(hit_rate.locator(".now strong").first).to_contain_text(" %")
    expect(hit_rate.locator("path:not(.grid):not(.area)").first).to_have_attribute(
        "d", re.compile("M.+")
    )
    hit_rate.get_by_text("Hit rate as a table").click()
    expect(hit_rate.locator("tbody tr").first).to_contain_text("%")
    latency = page.locator("figure").filter(has_text="99th percentile")
    expect(latency.locator(".now strong").last).to_contain_text("ms")


def test_models_are_listed_with_their_generations_and_coverage(platform: Stack, tab: Tab) -> None:
    page = tab.page
    with Client(platform.url) as client:
        client.lookup(["covered"], "minilm", on_miss="wait", wait_ms=20_000)
        models = {model["name"]: model for model in client.models()}
    rows = page.locator("#generations tr")
    expect(rows).to_have_count(2)
    row = rows.filter(has_text="minilm")
    expect(row).to_contain_text(str(models["minilm"]["generation"]))
    expect(row.locator(".badge")).to_have_text("live")
    row.get_by_role("button", name="Compute the coverage of minilm").click()
    expect(row.get_by_role("status")).to_contain_text("100 %")
    expect(row.get_by_role("status")).to_contain_text("0 failed")
    page.get_by_role("button", name="Compute all coverage").click()
    expect(rows.filter(has_text="resnet50").get_by_role("status")).not_to_be_empty()


def test_a_text_is_oov_then_a_hit_with_its_vector_and_neighbours(platform: Stack, tab: Tab) -> None:
    page = tab.page
    with Client(platform.url) as client:
        client.prefetch(NEAR, "minilm")
        wait_until(lambda: all_hits(client, NEAR), 60, "the texts are embedded")
    ask = "women's jacket, <img src=x onerror=alert(1)> leather"
    page.get_by_label("Text", exact=True).fill(ask)
    page.get_by_role("button", name="Look up the text").click()
    see_steps(page, "OOV", "Hit")
    expect(page.locator("#vector-heading")).to_have_text("Its vector")
    expect(page.locator("#vector")).to_contain_text("384")
    page.get_by_text("All 384 numbers").click()
    with Client(platform.url) as client:
        (item,) = client.lookup([ask], "minilm").items
        numbers = [float(one) for one in page.locator("#vector pre").inner_text().split(",")]
        assert numbers == pytest.approx(client.lookup([ask], "minilm").embeddings[0].tolist())
    expect(page.locator("#vector")).to_contain_text(str(item.key))
    # Markup, somebody else's included, is text.
    expect(page.locator("#near li .what").filter(has_text=NEAR[2])).to_be_visible()
    assert page.locator("#near b, #near img, #steps img").count() == 0
    page.get_by_role("button", name="Look up the text").click()
    see_steps(page, "Hit")


def see_picture(page: Page, image: Locator) -> None:
    expect(image).to_be_visible()
    page.wait_for_function("one => one.naturalWidth > 0", arg=image.element_handle())


def test_an_image_is_dropped_or_chosen_and_its_neighbours_have_thumbnails(
    platform: Stack, tab: Tab, tmp_path: Path
) -> None:
    page = tab.page
    with Client(platform.url) as client:  # somebody else's, so the archive must show it
        client.lookup([jpeg(data.coins())], "resnet50", on_miss="wait", wait_ms=20_000)
    chosen, dropped = tmp_path / "chosen.jpg", tmp_path / "dropped.jpg"
    chosen.write_bytes(jpeg(data.coffee()))
    dropped.write_bytes(jpeg(data.cat()))
    page.get_by_label("Drop a file here").set_input_files(chosen)
    page.get_by_role("button", name="Look up the image").click()
    see_steps(page, "OOV", "Hit")
    see_picture(page, page.locator("#preview"))
    see_picture(page, page.locator("#near img").first)
    drop(page, page.locator("#drop"), dropped)
    see_steps(page, "OOV", "Hit")
    expect(page.locator("#vector")).to_contain_text("2048")
    expect(page.locator("#near img")).to_have_count(2)
    see_picture(page, page.locator("#near img").last)


def drop(page: Page, target: Locator, file: Path) -> None:
    """Drop a file as a person does: trusted events, made by the browser."""
    target.scroll_into_view_if_needed()
    box = target.bounding_box()
    assert box is not None
    where = {"x": box["x"] + 20, "y": box["y"] + 10}
    carried = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, **where, "data": carried})


def test_what_is_dropped_and_is_no_image_fails_with_the_reason(tab: Tab, tmp_path: Path) -> None:
    page = tab.page
    words = tmp_path / "words.txt"
    words.write_text("these are no pixels")
    drop(page, page.locator("#drop"), words)
    see_steps(page, "OOV", "Failed")
    expect(page.locator("#steps")).to_contain_text("not_an_image")


def test_a_dead_letter_is_seen_and_replayed(platform: Stack, tab: Tab) -> None:
    page = tab.page
    healed = threading.Event()
    photograph = jpeg(data.rocket())

    def behave(connection: socket.socket, path: str) -> None:
        if healed.is_set():
            answer(photograph, Content_Type="image/jpeg")(connection, path)
        else:
            answer(status="503 Busy")(connection, path)

    with origin(behave, ALLOWED_ORIGIN) as server, Client(platform.url) as client:
        expect(page.locator("#letters-said")).to_have_text("No dead letters.")
        # They are listed anew when the metrics, read before, count another one.
        expect(part(page, "Consumers").locator(".word")).to_have_text("up")
        url = ImageUrl(f"{server.url}/poisoned")
        client.lookup([url], "resnet50")
        letter = page.locator("#letter-rows tr")
        expect(letter).to_have_count(1)  # without a click
        expect(letter).to_contain_text("server_error")
        expect(page.locator("#troubles")).to_contain_text("1 dead letter")
        healed.set()
        page.get_by_role("button", name="Replay all 1").click()
        expect(page.locator("#letters-said")).to_have_text(
            "1 dead letter replayed. No dead letters."
        )
        expect(page.locator("#troubles li")).to_have_count(0)
        wait_until(lambda: all_hits(client, [url], "resnet50"), 60, "the replayed one is a hit")


@pytest.mark.parametrize(
    ("name", "shown", "trouble"),
    [
        ("consumers", "Consumers", "No consumer runs"),
        ("tritonserver", "Retina", "Retina is not ready"),
    ],
)
def test_a_part_that_dies_is_seen_with_what_to_do_and_so_is_its_return(
    platform: Stack, tab: Tab, name: str, shown: str, trouble: str
) -> None:
    page = tab.page
    expect(part(page, shown).locator(".word")).to_have_text("up")
    with kept_dead(platform, name):
        expect(page.locator("#summary")).to_have_text(trouble)
        expect(part(page, shown).locator(".word")).to_have_text("down")
        expect(page.locator("#troubles .remedy")).to_contain_text("New inputs stay OOV")
        assert page.title().startswith(f"✕ {trouble}")
    expect(part(page, shown).locator(".word")).to_have_text("up")
    expect(page.locator("#summary")).to_have_text("Everything works")
