"""Writing a version into a Triton model repository so that a crash leaves no half of one.

A version is written beside its place and renamed into it, the encoder first and the front last;
`embark.json` in the front's folder marks it as complete.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from embark.errors import ConfigurationError
from embark.models import FACTS_FILE, ModelFacts, exported_versions
from export.encoders.base import Encoder
from export.engines import capabilities, has_engine
from export.triton_config import BACKENDS, encoder_config, front_config
from export.tuning.record import read_tuning, replace_text

_SERVING = Path(__file__).parent / "serving"
# A graph has its precision in itself; bfloat16 is how a float32 one is run.
_ENCODERS = {"bf16": "bfloat16_encoder:Bfloat16Encoder"}
_UNFINISHED = ".new-"
_TENSOR = re.compile(r"^(?:input|output) \{$.*?^\}$", re.MULTILINE | re.DOTALL)


def newest_facts(repository: Path, name: str) -> ModelFacts | None:
    """Return the facts of a model's newest version, None if it was never exported."""
    versions = exported_versions(repository / name)
    return _facts(repository, name, versions[-1]) if versions else None


def next_version(repository: Path, name: str) -> int:
    """Return the number that a model's next version will have."""
    return max(exported_versions(repository / name), default=0) + 1


def check_compatible(repository: Path, encoder: Encoder) -> None:
    """Return if the versions of a model can be served beside one of this encoder.

    Raises:
        ConfigurationError: the tensors, which all versions share, are others.
    """
    if not exported_versions(repository / encoder.name):
        return
    wanted = {
        encoder.name: front_config(encoder),
        f"{encoder.name}_encoder": encoder_config(encoder),
    }
    for folder, text in wanted.items():
        path = repository / folder / "config.pbtxt"
        old, new = _tensors(path.read_text("utf-8") if path.is_file() else text), _tensors(text)
        if old != new:
            raise ConfigurationError(
                f"{encoder.name} in {repository} has other tensors ({'; '.join(old)}) than this"
                f" encoder ({'; '.join(new)}), and Triton serves all versions of a model by one"
                f" configuration; export under another --name, or delete {encoder.name}/ and"
                f" {encoder.name}_encoder/ there"
            )


def check_backend(repository: Path, name: str, backend: str) -> None:
    """Return if a backend may be the main one of a model.

    Raises:
        ConfigurationError: it would compute a bfloat16 version in other arithmetic.
    """
    if backend != "python" and (versions := _bfloat16_versions(repository / f"{name}_encoder")):
        raise ConfigurationError(
            f"version {versions[0]} of {name} is bf16, which only --backend python computes; retire"
            " it first: embark models retire"
        )


def without_engine(repository: Path, name: str, capability: str | None) -> tuple[ModelFacts, ...]:
    """Return the versions of a model that have no engine for a compute capability; None is any."""
    encoder = repository / f"{name}_encoder"
    return tuple(
        _facts(repository, name, one)
        for one in exported_versions(repository / name)
        if not has_engine(encoder / str(one), capability)
    )


def _facts(repository: Path, name: str, version: int) -> ModelFacts:
    path = repository / name / str(version) / FACTS_FILE
    return ModelFacts.model_validate_json(path.read_bytes())


def _bfloat16_versions(encoder: Path) -> list[str]:
    return sorted(
        entry.parent.name
        for entry in encoder.glob("[0-9]*/model.py")
        if "bfloat16_encoder" in entry.read_text("utf-8")
    )


def write_configs(repository: Path, encoder: Encoder, version: int, backend: str) -> None:
    """Write both `config.pbtxt`, and under `configs/` the encoder's for the other backends.

    Each is replaced whole: a Triton may be reading it.

    Args:
        repository: the model repository.
        encoder: what is configured.
        version: the newest, whose engines are named.
        backend: the one that is not under `configs/`.
    """
    tuning = read_tuning(repository, encoder.name)
    front, folder = repository / encoder.name, repository / f"{encoder.name}_encoder"
    configs = folder / "configs"
    configs.mkdir(parents=True, exist_ok=True)
    front.mkdir(exist_ok=True)
    replace_text(front / "config.pbtxt", front_config(encoder, tuning))
    # Another backend would compute a bfloat16 version in other arithmetic.
    only = _bfloat16_versions(folder)
    for one in BACKENDS:
        other = configs / f"{one}.pbtxt"
        if only and one != backend:
            other.unlink(missing_ok=True)
            continue
        text = encoder_config(encoder, one, tuning, capabilities(folder / str(version)))
        if one == backend:
            other.unlink(missing_ok=True)
        replace_text(folder / "config.pbtxt" if one == backend else other, text)


def write_version(
    repository: Path,
    encoder: Encoder,
    facts: ModelFacts,
    write_encoder: Callable[[Path], None],
    backend: str = "python",
) -> None:
    """Publish a version.

    Args:
        repository: the model repository.
        encoder: what is published.
        facts: its description.
        write_encoder: fills the encoder's version folder with graph and weights.
        backend: what runs the encoder unless Triton is told otherwise.
    """

    def fill_encoder(folder: Path) -> None:
        _write_serving(folder, _ENCODERS.get(facts.precision, "onnx_encoder:OnnxEncoder"))
        write_encoder(folder)

    def fill_front(folder: Path) -> None:
        _write_serving(folder, "front:Front")
        for name, content in encoder.preprocessing.files().items():
            (folder / name).write_bytes(content)
        (folder / FACTS_FILE).write_text(facts.model_dump_json(indent=2) + "\n", "utf-8")

    _publish(repository / f"{encoder.name}_encoder", facts.version, fill_encoder)
    # Which engines there are is part of the configuration; the front still has to follow.
    write_configs(repository, encoder, facts.version, backend)
    _publish(repository / encoder.name, facts.version, fill_front)


def add_engine(folder: Path, engine: Path, file_name: str) -> None:
    """Put an engine beside the graph in an encoder's published version folder, whole or not."""
    unfinished = folder / f"{_UNFINISHED}{file_name}"
    shutil.copyfile(engine, unfinished)
    unfinished.replace(folder / file_name)


def _publish(model: Path, version: int, fill: Callable[[Path], None]) -> None:
    for leftover in model.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(leftover)
    unfinished, finished = model / f"{_UNFINISHED}{version}", model / str(version)
    unfinished.mkdir(parents=True)
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


def _tensors(config: str) -> list[str]:
    """Return the inputs and outputs of a `config.pbtxt` as `export.triton_config` writes it."""
    blocks: list[str] = _TENSOR.findall(config)
    return [", ".join(line.strip() for line in block.splitlines()[1:-1]) for block in blocks]
