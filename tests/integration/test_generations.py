"""A model is changed under load: two real generations, every answer checked vector by vector."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from embark.client import Client
from export.reference import Reference
from tests.conftest import ON_SERVERS
from tests.support.cluster import environment_of
from tests.support.stack import Stack, computed, drained, running, wait_for_hits, wait_until

# Commands, exports and servers share the machine with the load.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

MODEL = "text_lstm"
TEXTS = [f"sentence {number}, {'and more ' * (number % 7)}" for number in range(300)]
FOLLOW_SECONDS = 5


def export(repository: Path, *arguments: str) -> Reference:
    command = [sys.executable, "-m", "export", MODEL, "--output", str(repository), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return Reference(repository, MODEL)


def other_weights(repository: Path, version: int, folder: Path) -> Path:
    """A file of weights that are not quite those of a version."""
    weights = load_file(repository / f"{MODEL}_encoder" / str(version) / "weights.safetensors")
    rng = np.random.default_rng(version)
    changed = {
        name: (one + rng.normal(0, 0.02, one.shape)).astype(one.dtype)
        if one.dtype == np.float32
        else one
        for name, one in weights.items()
    }
    path = folder / "other.safetensors"
    save_file(changed, path)
    return path


@pytest.fixture(scope="module", params=["embedded", pytest.param("cluster", marks=ON_SERVERS)])
def platform(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stack, Path, Reference]]:
    repository = tmp_path_factory.mktemp("repository")
    old = export(repository, "--weights", "seeded")
    environment = {"EMBARK_ARCHIVE__USAGE__WINDOW_SECONDS": "0.5", "EMBARK_GATEWAY__PROCESSES": "2"}
    if request.param == "cluster":
        environment = environment_of(
            request.getfixturevalue("addresses"),
            "g",
            archive__usage__window_seconds=0.5,
            consumer__processes=2,
            gateway__processes=3,
        )
    with running(tmp_path_factory.mktemp("stack"), environment, repository) as stack:
        yield stack, repository, old


@dataclass
class Load:
    """Lookups all the while, and what they were answered.

    Attributes:
        answers: when each answer came, and its generation.
        mixed, wrong: what must not be.
    """

    expected: dict[str, dict[str, np.ndarray]]
    answers: list[tuple[float, str]] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    mixed: list[set[str]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def ask(self, http: httpx.Client, rng: np.random.Generator) -> None:
        texts = [TEXTS[min(int(one), len(TEXTS)) - 1] for one in rng.zipf(1.3, 20)]
        body = {"model": MODEL, "items": texts}
        answer = http.post("/v1/lookup", json=body)
        answer.raise_for_status()
        items = answer.json()["items"]
        generations = {item["generation"] for item in items}
        self.answers.append((time.monotonic(), items[0]["generation"]))
        if len(generations) != 1:
            self.mixed.append(generations)
        for text, item in zip(texts, items, strict=True):
            # Cassandra may be late on a busy machine; what it lacks, in contrast, is queued.
            is_late = item["status"] == "oov" and not item["queued"]
            self.statuses["late" if is_late else item["status"]] += 1
            found = np.array(item["embedding"])
            wanted = self.expected[item["generation"]][text]
            if item["status"] != "hit":
                wanted = np.zeros_like(wanted)
            if not np.allclose(found, wanted, atol=2e-3):
                self.wrong.append(text)


@contextmanager
def load(url: str, expected: dict[str, dict[str, np.ndarray]]) -> Iterator[Load]:
    made, stop = Load(expected), threading.Event()
    errors: list[Exception] = []

    def run(seed: int) -> None:
        rng = np.random.default_rng(seed)
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as http:
            while not stop.wait(0.1):
                try:
                    made.ask(http, rng)
                except httpx.HTTPError as error:
                    errors.append(error)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not errors


def vectors(reference: Reference) -> dict[str, np.ndarray]:
    found = reference.embed([text.encode() for text in TEXTS])
    return dict(zip(TEXTS, found, strict=True))


def follows(load: Load, generation: str) -> None:
    """Wait until nothing but one generation is answered, which may take five seconds."""
    ends = time.monotonic() + FOLLOW_SECONDS
    wait_until(lambda: time.monotonic() > ends, FOLLOW_SECONDS + 1, "time passes")
    wait_until(lambda: load.answers[-1][0] > ends + 0.5, 60, "answers come")
    assert {one for at, one in load.answers if at > ends} == {generation}


def test_a_model_is_changed_under_load(
    platform: tuple[Stack, Path, Reference], tmp_path: Path
) -> None:
    stack, repository, old = platform
    before = old.facts.generation
    with Client(stack.url) as client:
        wait_for_hits_of_all(client)
        new = export(repository, "--weights", str(other_weights(repository, 1, tmp_path)))
        after = new.facts.generation
        expected = {before: vectors(old), after: vectors(new)}
        assert after != before
        with load(stack.url, expected) as answers:
            wait_until(lambda: len(client.models()[0]["generations"]) == 2, 60, "it is seen")
            refused = stack.command("models", "promote", MODEL, status=1)
            assert (refused["promoted"], refused["coverage"]["covered"]) == (False, 0)

            filled = stack.command("models", "fill", MODEL)
            assert (filled["known"], filled["done"], filled["failed"]) == (300, 300, 0)
            covered = stack.command("models", "coverage", MODEL)
            assert covered["share"] == 1
            assert covered["uses"] > 0
            assert {one for _, one in answers.answers} == {before}

            promoted = stack.command("models", "promote", MODEL)
            assert promoted["promoted"]
            assert promoted["drift"]["inputs"] == 300
            assert 0 < promoted["drift"]["cosine_mean"] < 1
            follows(answers, after)
            stack.command("models", "rollback", MODEL)
            follows(answers, before)
            stack.command("models", "rollback", MODEL)
            follows(answers, after)

            stack.command("models", "retire", MODEL, before)
            assert stack.command("models", "purge", MODEL, before)["removed"] >= 300
        assert (answers.mixed, answers.wrong) == ([], [])
        # Every input was known in both generations, so that nothing was missing.
        assert set(answers.statuses) <= {"hit", "late"}
        assert answers.statuses["hit"] > 1000, answers.statuses
        assert answers.statuses["late"] < answers.statuses["hit"]
        assert [one["generation"] for one in client.models()[0]["generations"]] == [after]
        listed = stack.command("models", "list")["models"]
        assert [(one["generation"], one["state"]) for one in listed] == [(after, "live")]
        # The new generation is computed by Retina from here on.
        fresh = computed(client, ["never seen before"], MODEL)
        assert fresh.hits.all()
        assert np.allclose(fresh.embeddings, new.embed([b"never seen before"]), atol=2e-3)


def wait_for_hits_of_all(client: Client) -> None:
    client.prefetch(TEXTS, MODEL)
    wait_for_hits(client, TEXTS, MODEL, 60)
    wait_until(lambda: drained(client), 60, "the queue is empty")


def test_an_input_is_invalidated_and_computed_again(
    platform: tuple[Stack, Path, Reference],
) -> None:
    stack, _, _ = platform
    with Client(stack.url) as client:
        (before,) = computed(client, ["invalid"], MODEL).items
        done = stack.command("invalidate", "invalid", "--model", MODEL)
        assert done == {"invalidated": 1, "queued": 1}
        after = wait_for_hits(client, ["invalid"], MODEL, 20).items[0]
        assert before.embedding is not None and after.embedding is not None
        assert np.array_equal(before.embedding, after.embedding)


def test_the_oov_vector_is_set(platform: tuple[Stack, Path, Reference], tmp_path: Path) -> None:
    stack, _, _ = platform
    with Client(stack.url) as client:
        dimension = client.models()[0]["dimension"]
        np.save(tmp_path / "oov.npy", np.full(dimension, 0.5, np.float32))
        stack.command("models", "oov", MODEL, str(tmp_path / "oov.npy"))
        wait_until(
            lambda: np.all(client.lookup(["?"], MODEL, on_miss="skip").embeddings == 0.5),
            FOLLOW_SECONDS,
            "gateways follow",
        )
