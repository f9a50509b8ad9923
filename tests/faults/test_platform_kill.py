"""SIGKILL of each part under load: every accepted request ends as a hit or as failed."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from embark.client import Client
from embark.errors import ServiceError
from export.graph import cosines
from export.reference import Reference
from tests.support.stack import Stack, all_hits, running, wait_until

pytestmark = pytest.mark.stack

PARTS = ("consumers", "tritonserver", "gateway")


class Load:
    """Looks up unseen texts from several threads, and remembers which were accepted."""

    def __init__(self, url: str, threads: int = 3) -> None:
        self.accepted: set[str] = set()
        self.wrong: list[str] = []
        self._url = url
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(threads)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, thread: int) -> None:
        with Client(self._url, retries=0, timeout_s=10) as client:
            number = 0
            while not self._stop.is_set():
                texts = [f"load {thread} {number + one}" for one in range(5)]
                number += 5
                try:
                    found = client.lookup(texts, "minilm")
                except ServiceError as error:
                    if error.status:
                        self.wrong.append(str(error))
                else:
                    pairs = zip(texts, found.items, strict=True)
                    self.accepted.update(text for text, item in pairs if item.queued)
                self._stop.wait(0.02)


def test_killed_parts_lose_nothing(tmp_path: Path, minilm: Reference) -> None:
    with running(tmp_path) as stack:
        with Load(stack.url) as load:
            for part in PARTS:
                time.sleep(1)
                before = len(load.accepted)
                stack.kill(part)
                wait_until(lambda part=part: stack.children(part), 30, f"{part} is back")
                wait_until(
                    lambda before=before: len(load.accepted) > before + 50, 30, "load is accepted"
                )
        assert not load.wrong
        texts = sorted(load.accepted)
        assert len(texts) > 150
        with Client(stack.url) as client:
            wait_until(
                lambda: all_hits(client, texts),
                90,
                f"all {len(texts)} accepted texts are hits",
            )
            sample = texts[:: max(1, len(texts) // 200)]
            found = client.lookup(sample, "minilm", on_miss="skip")
        expected = minilm.embed([text.encode() for text in sample])
        assert cosines(found.embeddings, expected).min() >= 0.9999
        reported = "\n".join(stack.messages)
        for name in ("consumer-1", "retina", "gateway"):
            assert f"{name} stopped (killed by SIGKILL); starting again" in reported


def test_a_killed_supervisor_leaves_no_process(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    try:
        stack.wait_ready()
        family = psutil.Process(stack.process.pid).children(recursive=True)
        assert len(family) >= 5
        stack.process.kill()
        _, alive = psutil.wait_procs(family, timeout=40)
        assert not alive
    finally:
        stack.stop()


def test_an_orderly_end_drains_and_exits_with_zero(tmp_path: Path) -> None:
    with running(tmp_path) as stack:
        family = psutil.Process(stack.process.pid).children(recursive=True)
        texts = [f"drained {number}" for number in range(300)]
        with Client(stack.url) as client:
            assert all(item.queued for item in client.lookup(texts, "minilm").items)
        assert stack.stop() == 0
        assert not any(one.is_running() for one in family)
    with running(tmp_path) as stack, Client(stack.url) as client:
        wait_until(lambda: all_hits(client, texts), 30, "all are hits")


def test_a_second_platform_on_the_same_folder_is_refused(stack: Stack) -> None:
    second = Stack(stack.data)
    wait_until(lambda: second.process.poll() is not None, 20, "the second has ended")
    assert second.stop() == 2
    assert httpx.get(f"{stack.url}/v2/health/ready").status_code == 200
