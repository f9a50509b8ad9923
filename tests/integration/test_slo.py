"""`make slo` whole, small: the platform, the scoring service, new items, a load, inline towers."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

import pytest

from embark.errors import ConfigurationError
from examples.ctr import slo
from examples.ctr.catalogue import ADVERTISERS, CATEGORIES
from examples.ctr.model import Head, HeadShape, save_head
from examples.ctr.work import Work
from tests.support.stack import PATIENT_MS

pytestmark = pytest.mark.stack

ITEMS, NEW, CANDIDATES = 24, 4, 10
SECONDS = 3
ALWAYS_MISSED_MS = 0.001


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """A work folder as `train` leaves it, but for the training: what scores say is not tested."""
    work = Work(tmp_path_factory.mktemp("ctr"))
    shape = HeadShape(
        categories=CATEGORIES,
        advertisers=ADVERTISERS,
        text_dimension=256,
        image_dimension=2048,
        items=0,
        base=-3.0,
    )
    save_head(Head(shape), work.head)
    facts = {"items": ITEMS, "days": 3, "seed": 1, "text_model": "text_lstm"}
    work.scorer.write_text(json.dumps({**facts, "image_model": "inception_v3"}))
    return work


def test_an_objective_that_cannot_be_met_is_missed_and_everything_else_is_measured(
    work: Work,
) -> None:
    # The load lasts 5 s longer than it is told, for the ramp.
    options = ["--rate=20", f"--seconds={SECONDS}", f"--new-per-second={NEW / (SECONDS + 5)}"]
    options += [f"--candidates={CANDIDATES}", "--inline-requests=1", "--minimum-hit-rate=0.5"]
    options += [f"--limit-ms={ALWAYS_MISSED_MS}"]
    # How fast it is on a machine that has other work is not what is tested.
    options += [f"--timeout-ms={PATIENT_MS}", f"--deadline-ms={PATIENT_MS}"]
    ended = subprocess.run(
        [sys.executable, "-m", "examples.ctr", "slo", "--work", str(work.folder), *options],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "EMBARK_GATEWAY__OBJECTIVE_MS": PATIENT_MS},
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "the objective is MISSED" in ended.stdout
    result = json.loads((work.folder / "slo" / "result.json").read_bytes())
    assert {row["what"]: row["met"] for row in result["objectives"]} == {
        "requests sent of those due": True,
        "p99 ms": False,
        "share of errors": True,
        "hit rate": True,
    }
    figures = result["calls"]["score"]
    assert figures["due"] == figures["sent"] >= 100
    for statuses in figures["items"].values():
        assert sum(statuses.values()) == CANDIDATES * figures["due"]
        # Every item that was there before is a hit unless EmbArk was late; the new ones are OOV.
        assert set(statuses) <= {"hit", "oov", "late"}
        assert statuses["oov"] > 0
    assert result["inline"]["requests"] == 1
    assert set(result["inline"]["image_ms"]) == {"compiled", "PyTorch"}


def test_a_catalogue_that_is_too_small_is_refused(work: Work) -> None:
    parser = argparse.ArgumentParser()
    slo.add_arguments(parser)
    options = parser.parse_args(["--work", str(work.folder), "--candidates", "30"])
    with pytest.raises(ConfigurationError, match=f"the catalogue has {ITEMS} items; 30 candidates"):
        slo.run(options)
