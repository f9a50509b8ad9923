"""`embark tune` with the real Triton and the real perf_analyzer, on two candidates."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput

from export.repository import newest_facts
from export.triton_config import present, retuned
from export.tuning.__main__ import main
from export.tuning.fetch import fetch
from export.tuning.record import TUNING_FILE, Candidate, read_tuning
from export.tuning.serving import Served, serving
from tests.support.deployment import RETINA_ENVIRONMENT
from tests.support.stack import REPOSITORY, wait_until

pytestmark = pytest.mark.stack

# Two requests that wait 0.2 s each for company make ten a second at most.
SLOW = Candidate(front_instances=2, front_delay_us=200_000, encoder_instances=1, intra_op_threads=1)
QUICK = SLOW.model_copy(update={"front_delay_us": 0})
LOAD = ["--concurrency", "2", "--rounds", "1", "--json"]


@pytest.fixture(scope="module")
def perf_analyzer() -> Path:
    return fetch(REPOSITORY.parent / ".cache" / "perf_analyzer" / "perf_analyzer")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model repository of minilm alone, with settings that are slow for certain."""
    monkeypatch.setenv("EMBARK_RETINA__ENVIRONMENT", str(RETINA_ENVIRONMENT))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    facts = newest_facts(REPOSITORY, "minilm")
    assert facts is not None
    for name in ("minilm", "minilm_encoder"):
        folder = tmp_path / "models" / name
        shutil.copytree(REPOSITORY / name, folder, ignore=shutil.ignore_patterns("[0-9]*"))
        (folder / str(facts.version)).symlink_to(REPOSITORY / name / str(facts.version))
    (tmp_path / "models" / "minilm" / TUNING_FILE).unlink(missing_ok=True)
    for path, text in retuned(tmp_path / "models", "minilm", SLOW).items():
        path.write_text(text)
    return tmp_path / "models"


def arguments(repository: Path, perf_analyzer: Path, objective: str) -> list[str]:
    options = ["--model-repository", str(repository), "--perf-analyzer", str(perf_analyzer)]
    return ["minilm", "--objective", objective, *options]


def files(repository: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in repository.glob("*/**/*.*") if path.is_file()}


def test_the_best_of_what_is_measured_is_written_and_served(
    repository: Path,
    perf_analyzer: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("export.tuning.__main__.candidates", lambda cores: [SLOW, QUICK])
    assert main([*arguments(repository, perf_analyzer, "p99=60s"), *LOAD, "--seconds", "1.5"]) == 0

    printed = json.loads(capsys.readouterr().out)
    assert printed["written"]
    assert printed["ratio"] > 1
    assert {row["rounds"] for row in printed["measured"]} == {1}
    tuning = read_tuning(repository, "minilm")
    assert tuning is not None
    assert tuning.candidate == QUICK
    assert present(repository, "minilm") == QUICK

    facts = newest_facts(repository, "minilm")
    assert facts is not None
    served = Served(repository, "minilm", facts.version, RETINA_ENVIRONMENT)
    with serving(served, tuning.candidate, repository.parent / "serving") as url:
        client = InferenceServerClient(url)
        batching = client.get_model_config("minilm").config.dynamic_batching
        assert batching.max_queue_delay_microseconds == 0
        tensor = InferInput("TEXT", [1, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[b"served as tuned"]], np.object_))
        vector = client.infer("minilm", [tensor]).as_numpy("EMBEDDING")
        client.close()
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-3)


def test_an_objective_that_nothing_meets_changes_nothing(
    repository: Path,
    perf_analyzer: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("export.tuning.__main__.candidates", lambda cores: [SLOW])
    before = files(repository)
    # No request of the slow settings ends within a third of 0.3 s, so loads are made longer.
    assert main([*arguments(repository, perf_analyzer, "p50=1us"), *LOAD, "--seconds", "0.3"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["tuning"] is None
    assert not printed["written"]
    assert printed["closest"]["candidate"] == SLOW.model_dump()
    assert files(repository) == before


def test_an_interrupted_tuning_leaves_nothing_behind(
    repository: Path, perf_analyzer: Path, tmp_path: Path
) -> None:
    before = files(repository)
    options = arguments(repository, perf_analyzer, "p99=60s")
    program = "import argparse, sys; from embark.cli import tune;"
    program += " tune.run(argparse.Namespace(arguments=sys.argv[1:]))"
    shared = Path("/dev/shm")
    with subprocess.Popen(
        [sys.executable, "-c", program, *options], stderr=subprocess.PIPE, text=True
    ) as tuner:
        try:
            segments = f"embark_tune_{tuner.pid}_*"
            wait_until(lambda: any(shared.glob(segments)), 60, "Triton runs its models")
            family = psutil.Process(tuner.pid).children(recursive=True)
            tuner.send_signal(signal.SIGINT)
            _, said = tuner.communicate(timeout=60)
        finally:
            tuner.kill()
    # Python ends by the signal if it came while a string was executed, as dataclasses do; a shell
    # says 130 then, too.
    assert tuner.returncode in (130, -signal.SIGINT), said
    assert "interrupted" in said
    assert not any(shared.glob(segments))
    assert not any(tmp_path.glob("embark-tune-*"))
    assert family
    wait_until(lambda: not any(map(is_alive, family)), 60, "its processes are gone")
    assert files(repository) == before


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
