"""Invalidating inputs and generations, by the library and by the admin endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from embark.archive import MISSING
from embark.inputs import text_input
from embark.invalidation import Invalidation
from embark.models import Model
from tests.support.generations import TwoGenerations, two_generations


@pytest.fixture
def here(tmp_path: Path) -> Iterator[TwoGenerations]:
    with two_generations(tmp_path) as opened:
        opened.ask("a", "b", "c"), opened.ask("a", model=opened.new)
        opened.consume()
        opened.computed.clear()
        yield opened


def invalidate(here: TwoGenerations, *texts: str, remembered: bool = True) -> set[bytes]:
    items = [text_input(text) for text in texts]
    contents = {
        here.key(text).digest: None if remembered else item
        for text, item in zip(texts, items, strict=True)
    }
    catalogue = here.gateway.following.current
    return Invalidation(here.backends).inputs(catalogue, "words", contents)


def missing(here: TwoGenerations, model: Model, *texts: str) -> list[bool]:
    digests = [here.key(text).digest for text in texts]
    return [one is MISSING for one in here.archive.get_many(model, digests, 5)]


def test_an_input_is_forgotten_in_every_generation_and_computed_again(
    here: TwoGenerations,
) -> None:
    assert invalidate(here, "a", "b") == {here.key("a").digest, here.key("b").digest}
    assert missing(here, here.old, "a", "b", "c") == [True, True, False]
    assert missing(here, here.new, "a") == [True]
    here.consume()
    # "b" was never computed under the new generation, so it is not now.
    wanted = {here.key("a"), here.key("b"), here.key("a", here.new)}
    assert set(here.computed) == wanted
    assert missing(here, here.old, "a", "b") == [False, False]


def test_an_input_that_nobody_knows_is_queued_if_its_content_is_given(
    here: TwoGenerations,
) -> None:
    assert invalidate(here, "new") == set()
    assert invalidate(here, "new", remembered=False) == {here.key("new").digest}
    here.consume()
    assert here.computed == [here.key("new")]


def test_a_whole_generation_is_computed_again(here: TwoGenerations) -> None:
    told: list[tuple[int, int]] = []
    done = Invalidation(here.backends).generation(here.old, lambda *so_far: told.append(so_far))
    assert (done, told[-1]) == ((3, 3), (3, 3))
    assert missing(here, here.old, "a", "b", "c") == [True] * 3
    assert missing(here, here.new, "a") == [False]
    here.consume()
    assert set(here.computed) == {here.key(text) for text in "abc"}


def post(here: TwoGenerations, **body: object) -> tuple[int, dict[str, object]]:
    answer = here.http.post("/v1/admin/invalidate", json=body)
    assert answer.json is not None
    return answer.status_code, answer.json


def test_the_endpoint_invalidates_and_says_what_is_queued(here: TwoGenerations) -> None:
    key = str(here.key("c"))
    items = ["a", {"key": key}, {"key": f"words:{here.old.generation}:{'0' * 32}"}]
    status, answer = post(here, model="words", items=items)
    assert (status, answer["invalidated"]) == (202, 3)
    assert [item["queued"] for item in answer["items"]] == [True, True, False]  # type: ignore[attr-defined]
    assert here.lookup(["a"], model="words")[0]["status"] == "oov"
    here.consume()
    assert [item["status"] for item in here.lookup(["a", "c"], model="words")] == ["hit", "hit"]
