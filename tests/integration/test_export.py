"""Exported models: their numbers, their files, and what a crash leaves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from embark.errors import ConfigurationError, EmbArkError
from embark.models import exported_versions, load_catalogue
from export import graph
from export.encoders import ENCODERS, find
from export.exporting import export_model
from export.graph import cosines
from export.reference import Reference
from export.repository import live_facts, write_version
from export.triton_config import encoder_config, front_config
from tests.support.stack import REPOSITORY

TEXTS = ("", "A man is eating food.", "word " * 400, "mixed 文字 🙂 ñ", "THE END")


@pytest.mark.parametrize("name", list(ENCODERS))
def test_the_committed_configuration_is_the_generated_one(name: str) -> None:
    encoder, folder = find(name), REPOSITORY / f"{name}_encoder"
    assert (REPOSITORY / name / "config.pbtxt").read_text() == front_config(encoder)
    assert (folder / "config.pbtxt").read_text() == encoder_config(encoder)
    onnx = (folder / "configs" / "onnxruntime.pbtxt").read_text()
    assert onnx == encoder_config(encoder, "onnxruntime")
    ours, theirs = (
        text_format.Parse(text, ModelConfig()) for text in (encoder_config(encoder), onnx)
    )
    assert theirs.backend == "onnxruntime"
    assert (ours.input, ours.output) == (theirs.input, theirs.output)


def test_minilm_is_the_original(minilm: Reference) -> None:
    from sentence_transformers import SentenceTransformer

    from export.encoders.minilm import _folder

    original = SentenceTransformer(str(_folder()), device="cpu").encode(list(TEXTS))
    found = minilm.embed([text.encode() for text in TEXTS])
    assert cosines(found, original).min() >= 0.9999


def test_every_exported_model_is_in_the_catalogue() -> None:
    catalogue = load_catalogue(REPOSITORY)
    assert list(catalogue) == sorted(ENCODERS)
    for name, model in catalogue.items():
        assert model.facts.dimension == find(name).dimension


def test_seeded_weights_are_the_same_each_time() -> None:
    encoder = find("inception_v3")
    first, second = encoder.weights("seeded"), encoder.weights("seeded")
    assert first.state.keys() == second.state.keys()
    assert all((first.state[name] == second.state[name]).all() for name in first.state)


def test_an_export_that_is_up_to_date_loads_no_torch() -> None:
    program = (
        "import sys; from export.__main__ import main; status = main(['--all', '--output',"
        f" {str(REPOSITORY)!r}]); sys.exit(status or 'torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count(b"up to date") == len(ENCODERS)


def test_a_graph_that_disagrees_is_refused(tmp_path: Path) -> None:
    import torch

    encoder = find("minilm")
    module = graph.load_module(encoder, encoder.weights("auto"))
    graph.write_graph(encoder, module, tmp_path / "model.onnx")
    with torch.no_grad():
        next(module.parameters()).mul_(2)
    with pytest.raises(EmbArkError, match="nothing was published"):
        graph.verify(encoder, module, tmp_path / "model.onnx")


def test_a_crash_leaves_no_version_that_counts(tmp_path: Path) -> None:
    encoder, facts = find("inception_v3"), live_facts(REPOSITORY, "inception_v3")
    assert facts is not None
    changed = facts.model_copy(update={"version": 1})

    def crash(folder: Path) -> None:
        (folder / "model.onnx").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_version(tmp_path, encoder, changed, crash)
    assert exported_versions(tmp_path / encoder.name) == []
    write_version(tmp_path, encoder, changed, lambda folder: None)
    assert exported_versions(tmp_path / encoder.name) == [1]
    assert not list(tmp_path.glob("*/.new-*"))


def test_unknown_names_and_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="minilm"):
        find("none")
    with pytest.raises(ConfigurationError, match="no weights"):
        export_model(find("inception_v3"), tmp_path, "nowhere")


def test_a_vector_fits_its_stored_type(inception: Reference) -> None:
    vectors = inception.embed(find("inception_v3").samples()[:2])
    assert np.isfinite(vectors.astype(inception.facts.dtype)).all()
