"""Write the pictures of docs/page.md anew, from a platform that runs.

embark up &
python docs/screenshots.py http://127.0.0.1:8080
"""

from __future__ import annotations

import random
import shutil
import sys
import threading
from pathlib import Path

from playwright.sync_api import sync_playwright

from embark import Client

FOLDER = Path(__file__).parent
WORDS = [
    "red",
    "blue",
    "leather",
    "cotton",
    "jacket",
    "shirt",
    "shoes",
    "small",
    "warm",
    "light",
    "women",
    "men",
    "rain",
    "autumn",
]
SECONDS = 60


def main(url: str) -> None:
    """Ask for a catalogue's items as a shop would, and look at the page meanwhile."""
    stop = threading.Event()
    asking = threading.Thread(target=_ask, args=(url, stop))
    asking.start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            light = browser.new_page(color_scheme="light", viewport={"width": 1200, "height": 880})
            light.wait_for_timeout(SECONDS * 500)  # until what is asked is known
            light.goto(url)
            light.wait_for_timeout(SECONDS * 1000)
            light.screenshot(path=FOLDER / "page-light.png")
            dark = browser.new_page(color_scheme="dark", viewport={"width": 1200, "height": 860})
            dark.goto(url)
            dark.get_by_label("Text", exact=True).fill("a warm red leather jacket for women")
            dark.get_by_role("button", name="Look up the text").click()
            dark.locator("#near li").first.wait_for()
            dark.locator("#try").screenshot(path=FOLDER / "page-dark.png")
            browser.close()
    finally:
        stop.set()
        asking.join()


def _ask(url: str, stop: threading.Event) -> None:
    chance = random.Random(1)
    items = [" ".join(chance.sample(WORDS, 4)) for _ in range(400)]
    with Client(url) as client:
        while not stop.wait(0.05):
            new = [" ".join(chance.sample(WORDS, 6))] if chance.random() < 0.2 else []
            client.lookup(chance.sample(items, chance.randint(5, 30)) + new, "minilm")


if __name__ == "__main__":
    main(sys.argv[1])
