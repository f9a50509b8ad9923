"""Which generation is live, on the real embedded ledger and through the gateway."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embark.errors import BadRequest, ConfigurationError
from embark.following import Following
from embark.generations import Generations, State, assemble, missing
from embark.models import load_exported, remove_generation
from tests.support.generations import NEW, OLD, TwoGenerations, two_generations
from tests.support.models import DIMENSION, facts, write_model
from tests.support.stack import wait_until


@pytest.fixture
def here(tmp_path: Path) -> Iterator[TwoGenerations]:
    with two_generations(tmp_path, archive__usage__window_seconds=0) as opened:
        yield opened


def served(here: TwoGenerations) -> str:
    return here.gateway.following.current["words"].generation


def test_gateways_follow_a_promotion_and_a_rollback(here: TwoGenerations) -> None:
    assert served(here) == OLD
    here.generations.promote(here.new, OLD)
    wait_until(lambda: served(here) == NEW, 60, "the gateway follows")
    assert here.lookup(["a"], model="words")[0]["generation"] == NEW
    assert here.generations.rollback("words") == OLD
    wait_until(lambda: served(here) == OLD, 60, "the gateway follows back")
    assert here.generations.rollback("words") == NEW
    actions = [change.action for change in here.generations.state("words").changes]
    assert actions == ["promoted", "rolled back", "rolled back"]


def test_a_request_is_of_one_generation_whatever_is_promoted_meanwhile(
    here: TwoGenerations,
) -> None:
    here.ask("a", "b")
    here.ask("a", "b", model=here.new)
    here.consume()

    seen: list[str] = []

    def flip() -> None:
        here.generations.promote(here.new, OLD)
        for generation in (NEW, OLD, NEW, OLD, NEW, OLD):
            wait_until(lambda: seen[-1:] == [generation], 60, "answers follow")  # noqa: B023
            here.generations.rollback("words")

    flipper = threading.Thread(target=flip)
    flipper.start()
    while flipper.is_alive():
        items = here.lookup(["a", "b"] * 20, model="words")
        generations = {item["generation"] for item in items}
        assert len(generations) == 1, generations
        assert {item["status"] for item in items} == {"hit"}
        assert all(item["key"].split(":")[1] in generations for item in items)
        seen += generations
    flipper.join()
    assert {OLD, NEW} == set(seen)


def test_a_miss_in_the_new_generation_is_oov_and_never_the_old_vector(
    here: TwoGenerations,
) -> None:
    here.ask("a")
    here.consume()
    assert here.lookup(["a"], model="words")[0]["status"] == "hit"
    here.generations.promote(here.new, OLD)
    wait_until(lambda: served(here) == NEW, 60, "the gateway follows")
    (item,) = here.lookup(["a"], model="words")
    assert (item["status"], item["generation"]) == ("oov", NEW)
    assert not np.any(item["embedding"])
    here.consume()
    assert here.lookup(["a"], model="words")[0]["status"] == "hit"


def test_an_old_key_still_names_its_input(here: TwoGenerations) -> None:
    here.ask("a", model=here.new)
    here.consume()
    here.generations.promote(here.new, OLD)
    wait_until(lambda: served(here) == NEW, 60, "the gateway follows")
    (item,) = here.lookup([{"key": str(here.key("a", here.old))}])
    assert (item["status"], item["key"]) == ("hit", str(here.key("a", here.new)))


def test_the_oov_vector_belongs_to_a_generation_and_is_followed(here: TwoGenerations) -> None:
    vector = np.arange(DIMENSION, dtype=np.float32)
    here.generations.set_oov(here.old, vector, "a run")
    following = here.gateway.following
    wait_until(lambda: np.any(following.current["words"].oov), 60, "it is followed")
    assert here.lookup(["x"], model="words")[0]["embedding"] == vector.tolist()
    here.generations.promote(here.new, OLD)
    wait_until(lambda: served(here) == NEW, 60, "the gateway follows")
    assert not any(here.lookup(["x"], model="words")[0]["embedding"])


@pytest.mark.parametrize(
    "vector", [np.zeros(DIMENSION + 1), np.full(DIMENSION, np.nan), np.full(DIMENSION, 1e6)]
)
def test_an_oov_vector_that_cannot_be_is_refused(
    here: TwoGenerations, vector: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> None:
    with pytest.raises(BadRequest):
        here.generations.set_oov(here.old, vector, "a run")


def test_there_is_nothing_to_roll_back_to_at_first_nor_when_it_is_retired(
    here: TwoGenerations,
) -> None:
    with pytest.raises(BadRequest, match="never promoted"):
        here.generations.rollback("words")
    here.generations.promote(here.new, OLD)
    here.generations.retire("words", OLD)
    with pytest.raises(BadRequest, match="was live before words"):
        here.generations.rollback("words")


def test_a_retired_generation_is_not_served(here: TwoGenerations) -> None:
    here.generations.promote(here.new, OLD)
    here.generations.retire("words", OLD)
    following = here.gateway.following
    wait_until(lambda: following.current.served("words", OLD) is None, 60, "it is gone")
    assert following.is_retired("words", OLD)
    assert not following.is_retired("words", NEW)
    here.generations.restore("words", OLD)
    wait_until(lambda: following.current.served("words", OLD), 60, "it is back")


def test_removing_a_generation_removes_its_versions_only(tmp_path: Path) -> None:
    for version, generation in ((1, OLD), (2, NEW), (3, OLD)):
        write_model(tmp_path, facts("words", version=version, generation=generation))
        (tmp_path / "words_encoder" / str(version)).mkdir(parents=True)
    assert remove_generation(tmp_path, "words", OLD) == [1, 3]
    for folder in ("words", "words_encoder"):
        assert [path.name for path in (tmp_path / folder).iterdir()] == ["2"]


def test_a_live_generation_that_is_not_here_is_told_and_another_one_served(
    here: TwoGenerations,
) -> None:
    exported = load_exported(here.repository)
    states = {"words": State(live="0" * 16)}
    assert missing(exported, states) == {"words": "0" * 16}
    assert assemble(exported, states)["words"].generation == OLD
    assert missing(exported, {"words": State(live=NEW)}) == {}


def test_what_was_decided_stands_while_the_archive_is_away(here: TwoGenerations) -> None:
    here.generations.promote(here.new, OLD)
    following = Following(here.repository, here.backends.ledger, 0.01)
    here.store.close()
    following.refresh()
    assert following.current["words"].generation == NEW
    following.close()
    first = Following(here.repository, here.backends.ledger, 1)
    assert first.current["words"].generation == OLD
    first.close()


def test_a_half_copied_version_does_not_disturb(here: TwoGenerations) -> None:
    (here.repository / "words" / "3").mkdir()
    (here.repository / "words" / "3" / "embark.json").write_text("{")
    with pytest.raises(ConfigurationError):
        here.gateway.following.refresh()
    assert served(here) == OLD
    assert here.lookup(["a"], model="words")[0]["generation"] == OLD
    write_model(here.repository, facts("words", version=4, generation="1" * 16))
    (here.repository / "words" / "3" / "embark.json").unlink()
    wait_until(
        lambda: here.gateway.following.current.served("words", "1" * 16), 60, "the next is seen"
    )


def test_decisions_of_different_models_are_apart(here: TwoGenerations) -> None:
    generations = Generations(here.backends.ledger)
    generations.promote(here.new, OLD)
    assert generations.state("pictures") == State()
