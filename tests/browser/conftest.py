"""A browser, and tabs that must neither complain nor ask anybody but their gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import LoneGateway, Tab, chromium

# Tells what hangs from what is slow.
expect.set_options(timeout=45_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Not for longer: its event loop lets no other run in this thread."""
    with chromium() as opened:
        yield opened


Open = Callable[..., Tab]


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[Open]:
    """Opens `url`; `expected` are parts of complaints that are the test's own doing."""
    tabs: list[tuple[Tab, tuple[str, ...]]] = []

    def open_one(url: str, expected: tuple[str, ...] = (), **options: Any) -> Tab:
        tab = Tab(browser, url, **options)
        tabs.append((tab, expected))
        return tab

    yield open_one
    for tab, expected in tabs:
        tab.close()
        assert tab.foreign == []
        strange = [one for one in tab.complaints if not any(part in one for part in expected)]
        assert strange == []


@pytest.fixture
def lone_gateway(tmp_path: Path) -> Iterator[Callable[..., LoneGateway]]:
    """Starts gateways without the rest of the platform, with settings."""
    started: list[LoneGateway] = []

    def start_one(**settings: str) -> LoneGateway:
        gateway = LoneGateway(tmp_path, **settings)
        started.append(gateway)
        gateway.start()
        return gateway

    yield start_one
    for gateway in started:
        gateway.kill()
