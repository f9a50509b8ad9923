"""`embark models` and `embark invalidate` on a real embedded archive."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embark.archive import MISSING
from embark.backends import Backends
from embark.cli import main
from embark.inputs import Input, image_input, image_url_input
from embark.keys import Key, digest
from embark.models import Model, load_exported
from embark.queue.base import Lane
from embark.sources import Source, Sources
from tests.support.generations import NEW, OLD, TwoGenerations, two_generations
from tests.support.models import DIMENSION, GENERATION

Embark = Callable[..., Any]


class KeptOpen(Backends):
    """What a command opens here: the test's own, which go on after it."""

    def close(self) -> None:
        pass


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TwoGenerations]:
    with two_generations(tmp_path, archive__usage__window_seconds=0) as opened:
        parts = opened.backends
        kept = KeptOpen(parts.store, parts.ledger, parts.queue)
        # LMDB opens a file once in a process.
        monkeypatch.setattr("embark.cli.models.common.open_backends", lambda settings: kept)
        monkeypatch.setenv("EMBARK_RETINA__MODEL_REPOSITORY", str(opened.repository))
        monkeypatch.setenv("EMBARK_RETINA__FOLLOW_SECONDS", "0.02")
        opened.ask("a", "b", "c", "d")
        opened.consume()
        opened.computed.clear()
        yield opened


@pytest.fixture
def embark(here: TwoGenerations, capsys: pytest.CaptureFixture[str]) -> Embark:
    """Runs a command, and returns what it prints as JSON."""

    def run(*arguments: str, status: int = 0) -> Any:
        capsys.readouterr()
        assert main([*arguments, "--json"]) == status
        # The gateway beside it logs what it follows.
        lines = capsys.readouterr().out.splitlines()
        return json.loads(next(line for line in lines if line.startswith("{")))

    return run


@pytest.fixture
def refused(here: TwoGenerations, capsys: pytest.CaptureFixture[str]) -> Embark:
    """Runs a command that is used wrongly, and returns what it says."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        try:
            status: object = main(list(arguments))
        except SystemExit as end:
            status = end.code
        assert status == 2
        return capsys.readouterr().err

    return run


def missing(here: TwoGenerations, model: Model, *texts: str) -> list[bool]:
    found = here.archive.get_many(model, [here.key(text).digest for text in texts], 5)
    return [one is MISSING for one in found]


def test_show_tells_of_every_generation_and_what_was_decided(
    here: TwoGenerations, embark: Embark, capsys: pytest.CaptureFixture[str]
) -> None:
    here.generations.promote(here.new, OLD, "a note")
    found = embark("models", "show", "words")
    assert found["name"] == "words"
    states = {one["generation"]: one["state"] for one in found["generations"]}
    assert states == {OLD: "previous", NEW: "live"}
    (change,) = found["changes"]
    assert (change["action"], change["generation"]) == ("promoted", NEW)
    assert main(["models", "show", "words"]) == 0
    printed = capsys.readouterr().out
    assert f"{NEW}  promoted  a note" in printed
    assert f"{OLD}: none; OOV vector zeros" in printed


def test_a_generation_is_filled_paused_and_resumed(here: TwoGenerations, embark: Embark) -> None:
    def states() -> dict[str, str]:
        shown = embark("models", "show", "words")["generations"]
        return {one["generation"]: one["state"] for one in shown}

    assert embark("models", "fill", "words", "--pause")["state"] == "paused"
    assert states()[NEW] == "paused"
    assert embark("models", "fill", "words", "--resume")["state"] == "resumed"
    assert states()[NEW] == "beside"
    with here.consuming():
        ended = embark("models", "fill", "words", "--rate", "10000")
    assert (ended["generation"], ended["known"], ended["done"]) == (NEW, 4, 4)
    assert missing(here, here.new, *"abcd") == [False] * 4


def test_a_filling_that_lacks_contents_exits_with_1(here: TwoGenerations, embark: Embark) -> None:
    image = image_input(b"an image")
    sources = Sources(here.backends.ledger)
    sources.remember("words", {digest(image): Source(image.kind, image.payload)})
    with here.consuming():
        ended = embark("models", "fill", "words", status=1)
    assert (ended["known"], ended["done"], ended["forgotten"]) == (5, 4, 1)


def test_a_retired_generation_is_restored_to_be_filled(
    here: TwoGenerations, embark: Embark
) -> None:
    here.generations.retire("words", NEW)
    with here.consuming():
        assert embark("models", "fill", "words", "--generation", NEW)["done"] == 4
    assert here.generations.state("words").retired == ()


def test_promote_refuses_below_the_coverage_that_is_asked(
    here: TwoGenerations, embark: Embark, capsys: pytest.CaptureFixture[str]
) -> None:
    here.ask("a", "b", "c", model=here.new)
    here.consume()
    told = embark("models", "promote", "words", "--min-coverage", "0.8", status=1)
    assert (told["promoted"], told["coverage"]["share"]) == (False, 0.75)
    assert main(["models", "promote", "words", "--min-coverage", "0.8"]) == 1
    assert "not promoted: the coverage is below 80.00 %" in capsys.readouterr().out
    assert here.generations.state("words").live is None
    told = embark("models", "promote", "words", "--min-coverage", "0.75", "--sample", "2")
    assert (told["promoted"], told["generation"], told["previous"]) == (True, NEW, OLD)
    assert told["drift"]["inputs"] == 2
    assert here.generations.state("words").live == NEW


def test_what_nobody_knows_is_promoted_by_force_only(
    here: TwoGenerations, embark: Embark, capsys: pytest.CaptureFixture[str]
) -> None:
    Sources(here.backends.ledger).forget("words", [here.key(text).digest for text in "abcd"])
    told = embark("models", "promote", "words", status=1)
    assert (told["coverage"]["inputs"], told["coverage"]["share"]) == (4, 0)
    assert main(["models", "promote", "words", "--force"]) == 0
    assert "drift: unknown" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["promote", "words", "--min-coverage", "99"],
        ["promote", "words", "--min-coverage", "-0.1"],
        ["promote", "words", "--min-coverage", "nan"],
        ["promote", "words", "--sample", "-1"],
        ["promote", "words", "--sample", "0"],
        ["promote", "words", "--sample", "1e3"],
        ["fill", "words", "--rate", "-5"],
        ["fill", "words", "--rate", "inf"],
        ["fill", "words", "--rate", "fast"],
        ["purge", "words", OLD, "--rate", "-5"],
    ],
)
def test_a_number_out_of_its_range_is_wrong_usage(refused: Embark, arguments: list[str]) -> None:
    told = refused("models", *arguments)
    assert f"argument {arguments[-2]}: " in told
    assert arguments[-1] in told


def test_the_previous_generation_is_no_fallback(here: TwoGenerations, refused: Embark) -> None:
    told = refused("models", "promote", "words", "--fallback-previous", "--force")
    assert "must not be mixed" in told
    assert here.generations.state("words").live is None


def test_an_empty_name_names_no_generation(here: TwoGenerations, refused: Embark) -> None:
    here.generations.promote(here.new, OLD)
    here.generations.retire("words", OLD)
    assert "it is empty" in refused("invalidate", "--model", "words", "--generation", "")
    assert "names no retired generation" in refused("models", "purge", "words", "")
    assert missing(here, here.old, *"abcd") == [False] * 4


def test_purge_removes_what_is_retired_at_a_rate(here: TwoGenerations, embark: Embark) -> None:
    here.generations.promote(here.new, OLD)
    assert embark("models", "retire", "words", OLD)["generation"] == OLD
    assert [one.generation for one in load_exported(here.repository)["words"]] == [NEW]
    assert embark("models", "purge", "words", OLD[:6], "--rate", "10000")["removed"] == 4
    assert missing(here, here.old, *"abcd") == [True] * 4


def test_texts_of_a_file_are_invalidated(
    here: TwoGenerations, embark: Embark, tmp_path: Path
) -> None:
    lines = tmp_path / "texts.txt"
    lines.write_text("a\nb\nnever seen\n", "utf-8")
    told = embark("invalidate", "--model", "words", "--file", str(lines))
    assert told == {"invalidated": 3, "queued": 3}
    assert missing(here, here.old, *"abcd") == [True, True, False, False]


def test_a_whole_generation_is_invalidated(here: TwoGenerations, embark: Embark) -> None:
    here.ask("a", model=here.new)
    here.consume()
    told = embark("invalidate", "--model", "words", "--generation", OLD[:4])
    assert told == {"invalidated": 4, "queued": 4}
    assert missing(here, here.old, *"abcd") == [True] * 4
    assert missing(here, here.new, "a") == [False]


def test_image_urls_are_invalidated_one_by_one_or_by_a_file(
    here: TwoGenerations, embark: Embark, tmp_path: Path
) -> None:
    urls = [f"http://shop.example/{number}.jpg" for number in range(3)]
    items = [image_url_input(url) for url in urls]
    for item in items:
        put_picture(here, item)
    assert embark("invalidate", "--image-url", urls[0]) == {"invalidated": 1, "queued": 1}
    lines = tmp_path / "urls.txt"
    lines.write_text("".join(f"{url}\n" for url in urls[1:]), "utf-8")
    told = embark("invalidate", "--model", "pictures", "--file", str(lines))
    assert told == {"invalidated": 2, "queued": 2}
    names = [digest(item) for item in items]
    assert here.archive.get_many(here.models["pictures"], names, 5) == [MISSING] * 3
    taken = here.queue.take(Lane.INTERACTIVE, 10, 10**6)
    assert [one.request.item for one in taken] == items


def put_picture(here: TwoGenerations, item: Input) -> None:
    here.put_vector(Key("pictures", GENERATION, digest(item)), np.ones(DIMENSION, np.float32))


def test_what_a_model_cannot_embed_is_not_invalidated(
    here: TwoGenerations, refused: Embark
) -> None:
    assert "pictures embeds image, not text" in refused("invalidate", "a", "--model", "pictures")
    told = refused("invalidate", "--image-url", "http://shop.example/1.jpg", "--model", "words")
    assert "words embeds text, not image_url" in told
    assert "not both" in refused("invalidate", "a", "--model", "words", "--generation", OLD)
    assert "--generation needs --model" in refused("invalidate", "--generation", OLD)
    assert here.queue.status()[Lane.INTERACTIVE].depth == 0
    assert missing(here, here.old, "a") == [False]
