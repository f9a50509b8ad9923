"""Exported models: their numbers, their files, what is refused, and what a crash leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
import pytest
import torch

from embark.errors import ConfigurationError, EmbArkError
from embark.models import exported_versions, load_catalogue
from export import Encoder, ImagePreprocessing, Modality, Thresholds, graph
from export.__main__ import main
from export.encoders import ENCODERS, find
from export.encoders.pooling import MODES, Pooling
from export.encoders.text_lstm import TextLstm
from export.exporting import Choices, export_model
from export.reference import Reference
from export.repository import newest_facts, write_version
from export.serving.bfloat16 import has_bfloat16, open_bfloat16
from export.verification import cosines
from tests.support.stack import REPOSITORY

TEXTS = ("", "A man is eating food.", "word " * 400, "mixed 文字 🙂 ñ", "THE END")


def test_minilm_is_the_original(minilm: Reference) -> None:
    from sentence_transformers import SentenceTransformer

    from export.encoders.minilm import minilm_folder

    original = SentenceTransformer(str(minilm_folder()), device="cpu").encode(list(TEXTS))
    found = minilm.embed([text.encode() for text in TEXTS])
    assert cosines(found, original).min() >= 0.9999


def test_every_exported_model_is_in_the_catalogue() -> None:
    catalogue = load_catalogue(REPOSITORY)
    assert list(catalogue) == sorted(ENCODERS)
    for name, model in catalogue.items():
        assert model.facts.dimension == find(name).dimension


@pytest.mark.parametrize("name", ["resnet50", "text_lstm"])
def test_seeded_weights_are_the_same_each_time(name: str) -> None:
    first, second = find(name).weights("seeded"), find(name).weights("seeded")
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


class Strict(Encoder):
    """Asks for more than arithmetic can give."""

    name = "strict"
    modality = Modality.IMAGE
    dimension = 3
    preprocessing = ImagePreprocessing(8, 8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    thresholds = MappingProxyType({"fp32": Thresholds(min_cosine=1.5)})

    def module(self) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())


def test_what_is_below_its_threshold_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(EmbArkError, match=r"1\.5 is required") as refused:
        export_model(Strict(), tmp_path)
    assert refused.value.code == "verification_failed"
    assert list(tmp_path.iterdir()) == []
    unverified = export_model(Strict(), tmp_path, Choices(verify=False))
    assert (unverified.written, unverified.verification) == (True, None)


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "models"
    assert main(["text_lstm", "--output", str(output), "--dry-run", "--json"]) == 0
    (plan,) = json.loads(capsys.readouterr().out)
    assert (plan["status"], plan["version"], plan["generation"]) == ("would_export", 1, None)
    assert not output.exists()


class FewSamples(TextLstm):
    """text_lstm, verified on fewer texts than usual."""

    def samples(self) -> list[bytes]:
        return super().samples()[:4]


def compiled_text_lstm(precision: str, folder: Path) -> Path:
    """Return the graph of text_lstm; that in float32 is exported for all tests."""
    if precision != "fp32":
        exported = export_model(FewSamples(), folder, Choices(precision=precision))
        assert exported.verification is not None
        assert exported.verification.batch_sizes == (1, 2, 3, 4)
        return folder / "text_lstm_encoder" / "1" / "model.onnx"
    version = exported_versions(REPOSITORY / "text_lstm")[-1]
    return REPOSITORY / "text_lstm_encoder" / str(version) / "model.onnx"


@pytest.mark.parametrize(
    ("precision", "most"), [("fp32", 1e-5), ("fp16", 2e-3), ("int8", 2e-3), ("bf16", 2e-2)]
)
def test_padding_changes_no_vector_of_text_lstm_in_any_format(
    precision: str, most: float, tmp_path: Path
) -> None:
    if precision == "bf16" and not has_bfloat16():
        with pytest.raises(ConfigurationError, match="bfloat16"):
            export_model(TextLstm(), tmp_path, Choices(precision=precision))
        return
    compiled, encoder = compiled_text_lstm(precision, tmp_path), TextLstm()
    model = onnx.load(compiled).graph
    operators = [node.op_type for node in model.node]
    assert operators.count("LSTM") == 2
    assert "Loop" not in operators
    assert ("MatMulNBits" in operators) == (precision == "int8")
    is_half = any(one.data_type == onnx.TensorProto.FLOAT16 for one in model.initializer)
    assert is_half == (precision == "fp16")
    run = (open_bfloat16 if precision == "bf16" else graph.open_graph)(compiled)
    prepared = graph.prepare(encoder, [text.encode() for text in TEXTS])
    padded = run(encoder.preparer.collate(prepared))
    alone = [run(encoder.preparer.collate([one], padded=False)) for one in prepared]
    np.testing.assert_allclose(padded, np.concatenate(alone), atol=most)
    expected = Reference(REPOSITORY, "text_lstm").embed([text.encode() for text in TEXTS])
    np.testing.assert_allclose(padded, expected, atol=most)


def test_weights_of_another_module_are_refused(tmp_path: Path) -> None:
    weights = REPOSITORY / "minilm_encoder" / str(exported_versions(REPOSITORY / "minilm")[-1])
    with pytest.raises(ConfigurationError, match="not of this module"):
        export_model(TextLstm(), tmp_path, Choices(weights=str(weights / "weights.safetensors")))


def test_a_crash_leaves_no_version_that_counts(tmp_path: Path) -> None:
    encoder, facts = find("inception_v3"), newest_facts(REPOSITORY, "inception_v3")
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
        export_model(find("inception_v3"), tmp_path, Choices(weights="nowhere"))


def test_a_vector_fits_its_stored_type(inception: Reference) -> None:
    vectors = inception.embed(find("inception_v3").samples()[:2])
    assert np.isfinite(vectors.astype(inception.facts.dtype)).all()


@pytest.mark.parametrize("mode", list(MODES))
def test_pooling_is_that_of_sentence_transformers(mode: str) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling as OriginalPooling

    mask = (torch.arange(12) < torch.tensor([5, 9, 1, 12])[:, None]).long()
    tokens = torch.rand(4, 12, 8)
    features = {"token_embeddings": tokens, "attention_mask": mask}
    expected = OriginalPooling(8, pooling_mode=mode)(features)["sentence_embedding"]
    torch.testing.assert_close(Pooling([mode])(tokens, mask), expected)
