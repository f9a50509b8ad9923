"""SIGKILL of each part under load: every accepted request ends as a hit or as failed."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from embark.client import Client, Sendable
from embark.errors import ServiceError
from export.reference import Reference
from export.verification import cosines
from tests.support.stack import Stack, all_asked, all_hits, running, wait_until
from tests.support.threads import Threads

pytestmark = pytest.mark.stack

ENOUGH = 30
PARTS = ("consumers", "tritonserver", "gateway")


MODELS = ("minilm", "inception_v3")


def unseen(model: str, thread: int, number: int) -> bytes:
    """An input of its own for each number: a text, or a small image of noise."""
    if model == "minilm":
        return f"load {thread} {number}".encode()
    pixels = np.random.default_rng([thread, number]).integers(0, 256, (32, 32, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def sendable(inputs: Sequence[bytes], model: str) -> list[Sendable]:
    return [one.decode() if model == "minilm" else one for one in inputs]


class Load(Threads):
    """Looks up unseen inputs from several threads, and remembers which were accepted."""

    def __init__(self, url: str, threads: int = 3) -> None:
        self.accepted: dict[str, list[bytes]] = {model: [] for model in MODELS}
        self.wrong: list[str] = []
        self._url = url
        super().__init__([partial(self._run, number) for number in range(threads)])

    def count(self) -> int:
        return sum(map(len, self.accepted.values()))

    def _run(self, thread: int) -> None:
        with Client(self._url, retries=0, timeout_s=10) as client:
            number = 0
            while not self.stopping.is_set():
                for model, many in zip(MODELS, (5, 1), strict=True):
                    inputs = [unseen(model, thread, number + one) for one in range(many)]
                    self._look_up(client, model, inputs)
                number += 5
                self.stopping.wait(0.15)

    def _look_up(self, client: Client, model: str, inputs: list[bytes]) -> None:
        try:
            found = client.lookup(sendable(inputs, model), model)
        except ServiceError as error:
            if error.status:
                self.wrong.append(str(error))
        else:
            pairs = zip(inputs, found.items, strict=True)
            self.accepted[model] += [one for one, item in pairs if item.queued]


def test_killed_parts_lose_nothing(tmp_path: Path, minilm: Reference, inception: Reference) -> None:
    with running(tmp_path) as stack:
        with Load(stack.url) as load:
            for part in PARTS:
                time.sleep(1)
                before = load.count()
                stack.kill(part)
                wait_until(partial(stack.children, part), 60, f"{part} is back")

                def is_accepted(before: int = before) -> bool:
                    return load.count() > before + 50

                wait_until(is_accepted, 60, "load is accepted")
            wait_until(
                lambda: all(len(one) > ENOUGH for one in load.accepted.values()),
                120,
                "enough of each model is accepted",
            )
        assert not load.wrong
        for reference in (minilm, inception):
            check_hits(stack.url, reference, load.accepted[reference.facts.name])
        reported = "\n".join(stack.messages)
        for name in ("consumer-1", "retina", "gateway"):
            assert f"{name} stopped (killed by SIGKILL); starting again" in reported


def check_hits(url: str, reference: Reference, accepted: list[bytes]) -> None:
    """Every accepted input becomes a hit, and those of a sample are PyTorch's vectors."""
    model = reference.facts.name
    assert len(accepted) > ENOUGH
    with Client(url) as client:

        def are_hits() -> bool:
            found = client.lookup(sendable(accepted, model), model, on_miss="skip")
            return bool(found.hits.all())

        wait_until(are_hits, 120, f"all {len(accepted)} accepted inputs of {model} are hits")
        sample = accepted[:: max(1, len(accepted) // 100)]
        found = client.lookup(sendable(sample, model), model, on_miss="skip")
    assert cosines(found.embeddings, reference.embed(sample)).min() >= 0.9999


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
            wait_until(lambda: all_asked(client, texts), 60, "all are queued")
        assert stack.stop() == 0
        assert not any(one.is_running() for one in family)
    with running(tmp_path) as stack, Client(stack.url) as client:
        wait_until(lambda: all_hits(client, texts), 60, "all are hits")


def test_a_second_platform_on_the_same_folder_is_refused(stack: Stack) -> None:
    second = Stack(stack.data)
    wait_until(lambda: second.process.poll() is not None, 60, "the second has ended")
    assert second.stop() == 2
    assert httpx.get(f"{stack.url}/v2/health/ready").status_code == 200
