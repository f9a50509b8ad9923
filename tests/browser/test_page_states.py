"""The page at `/` in a real Chromium: faults, keys, empty states, hostile words, accessibility.

On a gateway by itself; with the rest of the platform, see `test_page.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from embark.api_keys import Scope, new_key, write_keys
from embark.backends import QUEUE_FILE
from embark.inputs import text_input
from embark.keys import Key, digest
from embark.ports import free_port
from embark.queue.base import Lane, Request
from embark.queue.sqlite import SqliteQueue
from tests.browser.conftest import Open
from tests.support.browser import LoneGateway
from tests.support.models import GENERATION

Start = Callable[..., LoneGateway]

MARKUP = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
LIGHT, DARK = "rgb(246, 248, 250)", "rgb(14, 19, 24)"
SILENT = ("Failed to load resource: net::ERR_",)


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneGateway]:
    """One gateway for all tests that leave it as it is."""
    gateway = LoneGateway(tmp_path_factory.mktemp("lone"))
    gateway.start()
    yield gateway
    gateway.kill()


def bury(gateway: LoneGateway, *messages: str) -> None:
    """Leave just these dead letters in the gateway's queue, put there as consumers do."""
    queue = SqliteQueue(gateway.data / QUEUE_FILE, 15)
    while waiting := queue.take(Lane.INTERACTIVE, 100, 10**6):
        queue.ack(waiting)
    queue.purge(queue.dead(100))
    for number, message in enumerate(messages):
        item = text_input(f"dead {number}")
        queue.put([Request(Key("words", GENERATION, digest(item)), item, Lane.INTERACTIVE)])
        (delivery,) = queue.take(Lane.INTERACTIVE, 1, 10**6)
        assert queue.bury(delivery, "internal", message)
    queue.close()


def states(page: Page) -> list[str]:
    return page.locator("#parts .word").all_inner_texts()


def test_a_gateway_without_anything_says_what_it_does_not_know(
    lone: LoneGateway, open_tab: Open
) -> None:
    page = open_tab(lone.url).page
    expect(page.locator("#summary")).to_have_text("Everything works")
    assert states(page) == ["up", "up", "up", "not seen", "not seen"]
    expect(page.locator("#letters-said")).to_have_text("No dead letters.")
    expect(page.locator("#letters")).to_be_hidden()
    expect(page.locator("#lanes tr")).to_have_count(2)
    expect(page.locator("#charts")).to_contain_text("nothing yet")
    page.get_by_role("button", name="Compute all coverage").click()
    expect(page.locator("#generations")).to_contain_text("nothing was asked of it yet")


def test_a_gateway_that_ends_is_seen_and_so_is_its_return(
    lone_gateway: Start, open_tab: Open
) -> None:
    gateway = lone_gateway()
    page = open_tab(gateway.url, SILENT).page
    expect(page.locator("#summary")).to_have_text("Everything works")
    gateway.kill()
    expect(page.locator("#summary")).to_have_text("The gateway does not answer")
    expect(page.locator("#troubles")).to_contain_text("Does the process run")
    expect(page.locator("#checked")).to_contain_text("last answer")
    assert states(page) == ["down", *["not seen"] * 4]
    page.get_by_label("Text", exact=True).fill("into the void")
    page.get_by_role("button", name="Look up the text").click()
    expect(page.locator("#steps")).to_contain_text("the gateway cannot be reached")
    gateway.start()
    expect(page.locator("#summary")).to_have_text("Everything works")


def test_an_archive_and_a_queue_that_are_down_are_seen_and_lookups_go_on(
    lone_gateway: Start, open_tab: Open
) -> None:
    gateway = lone_gateway(
        ARCHIVE__BACKEND="cassandra",
        ARCHIVE__CASSANDRA__PORT=str(free_port()),
        QUEUE__BACKEND="kafka",
        QUEUE__KAFKA__BOOTSTRAP=f"127.0.0.1:{free_port()}",
    )
    page = open_tab(gateway.url, ("status of 503",)).page
    expect(page.locator("#summary")).to_have_text("The archive is down, and 1 more")
    troubles = page.locator("#troubles li")
    expect(troubles.first).to_contain_text("Lookups are still answered")
    expect(troubles.last).to_contain_text("The queue is down")
    page.get_by_label("Text", exact=True).fill("asked in an outage")
    page.get_by_role("button", name="Look up the text").click()
    expect(page.locator("#steps .oov")).to_have_text("OOV")
    page.get_by_role("button", name="Compute all coverage").click()
    expect(page.locator("#generations")).to_contain_text("Cassandra")


def test_keys_are_asked_for_and_each_scope_opens_what_it_should(
    lone_gateway: Start, open_tab: Open, tmp_path: Path
) -> None:
    made = {scope: new_key(scope.value, [*{Scope.READ, scope}]) for scope in Scope}
    keys = tmp_path / "keys.json"
    write_keys(keys, tuple(key for key, _ in made.values()))
    gateway = lone_gateway(GATEWAY__KEYS_FILE=str(keys))
    bury(gateway, "gave up")
    page = open_tab(gateway.url, ("status of 401", "status of 403")).page
    expect(page.locator("#troubles")).to_contain_text("The metrics need an API key")
    expect(page.locator("#models-said")).to_contain_text("needs an API key with the scope read")
    expect(page.locator("#letters-said")).to_contain_text("needs an API key with the scope admin")
    page.get_by_role("link", name="Go there").click()
    expect(page.get_by_label("API key", exact=True)).to_be_focused()

    def use(secret: str) -> None:
        if not page.get_by_label("API key", exact=True).is_visible():
            page.locator("#access summary").click()
        page.get_by_label("API key", exact=True).fill(secret)
        page.keyboard.press("Enter")
        expect(page.locator("#key-state")).to_have_text("in use")

    use("ek_000000000000_" + "x" * 43)
    expect(page.locator("#letters-said")).to_contain_text("the API key above does not do")
    use(made[Scope.READ][1])
    expect(page.locator("#generations tr")).to_have_count(2)
    expect(page.locator("#letters-said")).to_contain_text("this needs one with the scope admin")
    expect(page.locator("#summary")).to_have_text("Everything works")
    use(made[Scope.ADMIN][1])
    expect(page.locator("#letter-rows tr")).to_have_count(1)
    kept = page.evaluate("[Object.values(sessionStorage).join(), JSON.stringify(localStorage)]")
    assert kept == [made[Scope.ADMIN][1], "{}"]
    assert made[Scope.ADMIN][1] not in page.content()
    page.locator("#access summary").click()
    page.get_by_role("button", name="Forget it").click()
    expect(page.locator("#letters-said")).to_contain_text("needs an API key")
    assert page.evaluate("sessionStorage.length") == 0


def test_dead_letters_are_chosen_replayed_and_purged_and_their_words_are_text(
    lone: LoneGateway, open_tab: Open
) -> None:
    bury(lone, MARKUP, "second", "third")
    page = open_tab(lone.url).page
    rows = page.locator("#letter-rows tr")
    expect(rows).to_have_count(3)
    expect(rows.last).to_contain_text(MARKUP)
    assert page.locator("#letters img, #letters script").count() == 0
    expect(page.locator("#troubles")).to_contain_text("3 dead letters")
    rows.first.get_by_role("checkbox").check()
    page.get_by_role("button", name="Replay the 1 chosen").click()
    expect(page.locator("#letters-said")).to_have_text("1 dead letter replayed. 2 dead letters.")
    expect(page.locator("#letters-heading")).to_be_focused()
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Purge all 2…").click()
    expect(rows).to_have_count(2)
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_label("Choose all").check()
    page.get_by_role("button", name="Purge the 2 chosen…").click()
    expect(page.locator("#letters-said")).to_have_text("2 dead letters purged. No dead letters.")
    expect(page.locator("#letters")).to_be_hidden()
    expect(page.locator("#lanes tr").first).to_contain_text("1")
    assert page.title() != "owned"


def test_long_names_large_numbers_and_markup_in_answers_do_no_harm(
    lone: LoneGateway, open_tab: Open
) -> None:
    """Of what no real model or archive may say, the answers are forged."""
    page = open_tab(lone.url, viewport={"width": 390, "height": 800}).page
    generation = {"generation": "f" * 64, "version": 10**9, "live": True}
    model = {"modality": "text", "dimension": 123_456_789, "generations": [generation]}
    models = [{"name": MARKUP, **model}, {"name": "m" * 200, **model}]
    page.route("**/v1/models", lambda route: route.fulfill(json={"models": models}))
    readings = itertools.count(1)

    def large(route: Route) -> None:
        lines = [
            'embark_queue_depth{lane="interactive"} 1234567890',
            f"embark_corrupt_records_total {5_000_000_000 * next(readings)}",
            f'embark_lookup_items_total{{model="{"m" * 200}",status="hit"}} 9e15',
        ]
        route.fulfill(body="\n".join(lines))

    page.route("**/metrics", large)
    expect(page.locator("#generations tr")).to_have_count(2)
    expect(page.locator("#generations tr").first).to_contain_text(MARKUP)
    assert page.locator("#generations img, select img, select script").count() == 0
    expect(page.locator("#charts")).to_contain_text("1.2B")
    expect(page.locator("#troubles")).to_contain_text("Records are damaged")
    assert not overflows(page)
    assert page.title() != "owned"


def overflows(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))


def test_several_processes_that_count_apart_are_told_of(
    lone_gateway: Start, open_tab: Open
) -> None:
    gateway = lone_gateway(GATEWAY__PROCESSES="3")
    page = open_tab(gateway.url).page
    expect(page.locator("#scope")).to_contain_text("PROMETHEUS_MULTIPROC_DIR")


@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_in_either_theme(lone: LoneGateway, open_tab: Open, width: int) -> None:
    bury(lone, "gave up")
    page = open_tab(lone.url, viewport={"width": width, "height": 900}).page
    expect(page.locator("#letter-rows tr")).to_have_count(1)
    page.get_by_label("Text", exact=True).fill("never computed")
    page.get_by_role("button", name="Look up the text").click()
    expect(page.locator("#steps .oov")).to_be_visible()
    for summary in page.locator("summary").all():
        if summary.is_visible():
            summary.click()
    themes: tuple[tuple[Literal["light", "dark"], str], ...] = (("light", LIGHT), ("dark", DARK))
    for scheme, paper in themes:
        page.emulate_media(color_scheme=scheme)
        expect(page.locator("body")).to_have_css("background-color", paper)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
    assert not overflows(page)


def test_the_theme_can_be_chosen_and_is_remembered(lone: LoneGateway, open_tab: Open) -> None:
    page = open_tab(lone.url, color_scheme="light").page
    page.get_by_label("Colours").select_option("dark")
    page.reload()
    expect(page.get_by_label("Colours")).to_have_value("dark")
    expect(page.locator("body")).to_have_css("background-color", DARK)


TABBABLE = (
    "a[href], button:not([disabled]), input:not([disabled]), select:not([disabled]),"
    " textarea:not([disabled]), summary, [tabindex='0']"
)


def test_everything_is_reached_by_keyboard_with_a_focus_that_is_seen(
    lone: LoneGateway, open_tab: Open
) -> None:
    bury(lone, "gave up")
    page = open_tab(lone.url).page
    expect(page.locator("#letter-rows tr")).to_have_count(1)
    expect(page.locator("#text-model option")).to_have_count(1)
    expect(page.locator("#troubles a")).to_have_count(1)
    wanted = page.evaluate(
        "selector => [...document.querySelectorAll(selector)]"
        ".filter((one) => one.checkVisibility()).map((one, index) => one.dataset.stop = index)",
        TABBABLE,
    )
    stops = []
    for _ in wanted:
        page.keyboard.press("Tab")
        stop, outline, name = page.evaluate(
            "() => { const one = document.activeElement; const style = getComputedStyle(one);"
            " return [one.dataset.stop, style.outlineStyle + style.outlineWidth, one.outerHTML]; }"
        )
        stops.append(stop)
        assert outline == "solid3px", name
    # In the order of the page, each once.
    assert stops == [str(stop) for stop in wanted]


def test_the_keyboard_alone_looks_up_replays_and_opens_the_key(
    lone: LoneGateway, open_tab: Open
) -> None:
    bury(lone, "gave up")
    page = open_tab(lone.url).page
    expect(page.locator("#letter-rows tr")).to_have_count(1)
    press = page.keyboard.press
    press("Tab")
    press("Enter")  # the skip link
    expect(page.locator("#main")).to_be_focused()
    page.locator("#access summary").focus()
    press("Enter")
    expect(page.get_by_label("API key", exact=True)).to_be_visible()
    press("Escape")
    expect(page.get_by_label("API key", exact=True)).to_be_hidden()
    page.locator("#replay").focus()
    press("Enter")
    expect(page.locator("#letters-said")).to_have_text("1 dead letter replayed. No dead letters.")
    page.get_by_label("Text", exact=True).focus()
    page.keyboard.type("by keyboard")
    press("Tab")
    press("Space")
    expect(page.locator("#steps .oov")).to_be_visible()


def test_every_control_has_a_name_for_screen_readers(lone: LoneGateway, open_tab: Open) -> None:
    bury(lone, "gave up")
    page = open_tab(lone.url).page
    expect(page.locator("#letter-rows tr")).to_have_count(1)
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    controls = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored")
        and node["role"]["value"]
        in {"button", "link", "textbox", "combobox", "checkbox", "DisclosureTriangle", "image"}
    ]
    assert len(controls) > 20
    assert [role for role, name in controls if not name.strip()] == []


def test_the_policy_lets_no_script_of_others_run(lone: LoneGateway, open_tab: Open) -> None:
    refused = ("Content Security Policy", "TrustedHTML", "TrustedScript")
    page = open_tab(lone.url, refused).page
    page.evaluate(
        "const script = document.createElement('script');"
        "try { script.text = 'window.owned = true'; } catch {} document.head.append(script)"
    )
    assert page.evaluate("window.owned") is None
    assert page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'asked', () => 'refused')") == (
        "refused"
    )
    assert (
        page.evaluate(
            "(() => { try { document.body.innerHTML = '<b>'; return 'written' }"
            " catch { return 'refused' } })()"
        )
        == "refused"
    )
