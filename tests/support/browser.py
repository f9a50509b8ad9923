"""Chromium, and gateways for it to look at."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from embark.ports import free_port
from tests.support.models import catalogue
from tests.support.stack import PATIENT_MS, wait_until

# Nothing but loopback can be reached, whatever a page asks.
_ARGUMENTS = ("--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
_START_SECONDS = 60


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Debian's Chromium, headless; Playwright's own browsers are not used."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    assert found, "no Chromium: install Debian's package `chromium`"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(_ARGUMENTS))
        yield browser
        browser.close()


class Tab:
    """A page in a browser profile of its own, with all that it asked and complained of.

    Attributes:
        page: Playwright's page.
        complaints: what stands in its console, and what it threw.
        foreign: addresses that it asked and that are not the gateway's.
    """

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.url = url
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self._context = browser.new_context(**options)
        self.page: Page = self._context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self._context.on("request", self._asked)
        self.page.goto(url)

    def close(self) -> None:
        self._context.close()

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} {message.location['url']}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((f"{self.url}/", "blob:", "data:")):
            self.foreign.append(request.url)


class LoneGateway:
    """`python -m gateway` by itself: no consumer, no Triton, models without weights.

    Args:
        folder: for data and models.
        settings: further settings, as environment variables without their prefix.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.data = folder / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        if not (folder / "models").exists():
            catalogue(folder / "models")
        self._environment = {
            **os.environ,
            "EMBARK_DATA": str(self.data),
            "EMBARK_RETINA__MODEL_REPOSITORY": str(folder / "models"),
            "EMBARK_GATEWAY__PORT": str(self.port),
            "EMBARK_GATEWAY__OBJECTIVE_MS": PATIENT_MS,
            **{f"EMBARK_{name}": value for name, value in settings.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "gateway"]
        self._process = subprocess.Popen(
            command, env=self._environment, start_new_session=True, stderr=subprocess.DEVNULL
        )
        wait_until(self._answers, _START_SECONDS, "the gateway answers")

    def kill(self) -> None:
        """SIGKILL all its processes; idempotent."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, "it ended"
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/v2/health/live", timeout=2).is_success
        return False
