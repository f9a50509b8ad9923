"""Writing a version into a Triton model repository so that a crash leaves no half of one.

A version is written beside its place and renamed into it, the encoder first and the front last;
`embark.json` in the front's folder marks it as complete.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from embark.models import FACTS_FILE, ModelFacts, exported_versions
from export.encoders.base import Encoder
from export.triton_config import encoder_config, front_config

_SERVING = Path(__file__).parent / "serving"
_UNFINISHED = ".new-"


def live_facts(repository: Path, name: str) -> ModelFacts | None:
    """Return the facts of a model's live version, None if it was never exported."""
    versions = exported_versions(repository / name)
    if not versions:
        return None
    path = repository / name / str(versions[-1]) / FACTS_FILE
    return ModelFacts.model_validate_json(path.read_bytes())


def next_version(repository: Path, name: str) -> int:
    """Return the number that a model's next version will have."""
    return max(exported_versions(repository / name), default=0) + 1


def write_configs(repository: Path, encoder: Encoder) -> None:
    """Write both `config.pbtxt`, and the encoder's for Triton's own ONNX Runtime backend."""
    configs = repository / f"{encoder.name}_encoder" / "configs"
    configs.mkdir(parents=True, exist_ok=True)
    (repository / encoder.name).mkdir(exist_ok=True)
    (repository / encoder.name / "config.pbtxt").write_text(front_config(encoder), "utf-8")
    (configs.parent / "config.pbtxt").write_text(encoder_config(encoder), "utf-8")
    (configs / "onnxruntime.pbtxt").write_text(encoder_config(encoder, "onnxruntime"), "utf-8")


def write_version(
    repository: Path, encoder: Encoder, facts: ModelFacts, write_encoder: Callable[[Path], None]
) -> None:
    """Publish a version.

    Args:
        repository: the model repository.
        encoder: what is published.
        facts: its description.
        write_encoder: fills the encoder's version folder with graph and weights.
    """
    write_configs(repository, encoder)

    def fill_encoder(folder: Path) -> None:
        _write_serving(folder, "onnx_encoder:OnnxEncoder")
        write_encoder(folder)

    def fill_front(folder: Path) -> None:
        _write_serving(folder, encoder.front)
        for name, content in encoder.assets().items():
            (folder / name).write_bytes(content)
        (folder / FACTS_FILE).write_text(facts.model_dump_json(indent=2) + "\n", "utf-8")

    _publish(repository / f"{encoder.name}_encoder", facts.version, fill_encoder)
    _publish(repository / encoder.name, facts.version, fill_front)


def _publish(model: Path, version: int, fill: Callable[[Path], None]) -> None:
    for leftover in model.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(leftover)
    unfinished, finished = model / f"{_UNFINISHED}{version}", model / str(version)
    unfinished.mkdir()
    fill(unfinished)
    if finished.exists():
        # An encoder whose front was never published.
        shutil.rmtree(finished)
    unfinished.rename(finished)


def _write_serving(folder: Path, entry: str) -> None:
    module, name = entry.split(":")
    shutil.copytree(_SERVING, folder / "serving", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "model.py").write_text(
        f'"""Entry point for Triton\'s Python backend."""\n\n'
        f"from serving.{module} import {name} as TritonPythonModel  # noqa: F401\n",
        "utf-8",
    )
