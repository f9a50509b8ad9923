"""Generations: whatever changes an encoder's vectors gives another, and nothing else does."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from export import Encoder, Modality, identity
from export.encoders import ENCODERS, find
from export.sources import open_encoder
from export.sources.options import Options
from export.sources.python_class import class_sources

ENCODER = """
import torch
from export import Encoder, ImagePreprocessing, Modality

class Small(Encoder):
    modality = Modality.IMAGE
    dimension = 3
    preprocessing = ImagePreprocessing(8, 8)

    def module(self):
        import small_network
        return small_network.Network()
"""
NETWORK = """
import torch

class Network(torch.nn.Module):
    def forward(self, pixels):
        return pixels.float().mean((1, 2))
"""
LAYOUT = {
    "pack/__init__.py": "",
    "pack/deep/__init__.py": "",
    "pack/deep/encoders.py": (
        "import beside\n"
        "import numpy\n"
        "from export import Encoder\n"
        "from . import sibling\n"
        "from ..parts.network import layers\n"
        "class Mine(Encoder):\n"
        "    pass\n"
    ),
    "pack/deep/sibling.py": "",
    "pack/parts/__init__.py": "",
    "pack/parts/network.py": "layers = 2\ndef later():\n    import pack.parts.lazy\n",
    "pack/parts/lazy.py": "",
    "pack/unrelated.py": "",
    "beside.py": "",
    "other.py": "",
}


def generation(encoder: Encoder) -> str:
    return identity.generation(encoder, encoder.weights("auto"), "fp32")


def of(target: Path | str, **options: object) -> str:
    return generation(open_encoder(str(target), "mine", Options(**options)))  # type: ignore[arg-type]


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    from transformers import BertConfig, BertModel

    folder = tmp_path / "bert"
    sizes: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=8, intermediate_size=8, **sizes)).save_pretrained(folder)
    Tokenizer(WordLevel({"?": 0}, unk_token="?")).save(str(folder / "tokenizer.json"))
    return folder


def test_what_is_archived_of_shipped_encoders_stays_valid() -> None:
    assert generation(find("minilm")) == "8c8b958c609f82e2"
    assert not [name for name, encoder in ENCODERS.items() if list(encoder.architecture())]


def test_pooling_and_configuration_of_a_folder_are_part_of_its_generation(bert: Path) -> None:
    mean = of(bert, pooling="mean")
    options = [mean, of(bert, pooling="cls"), of(bert, pooling="mean", normalise=True)]
    assert len(set(options)) == 3
    (bert / "README.md").write_text("Nothing that is computed.")
    moved = shutil.copytree(bert, bert.parent / "moved")
    assert of(bert, pooling="mean") == of(moved, pooling="mean") == mean
    config = json.loads((bert / "config.json").read_text())
    (bert / "config.json").write_text(json.dumps({**config, "hidden_act": "relu"}))
    assert of(bert, pooling="mean") != mean


def test_output_and_normalisation_of_an_onnx_file_are_part_of_its_generation(
    tmp_path: Path,
) -> None:
    outputs = ("plain", "negative")
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["X"], ["plain"]),
            helper.make_node("Neg", ["plain"], ["negative"]),
        ],
        "two",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info(one, TensorProto.FLOAT, ["n", 3, 1, 1]) for one in outputs],
    )
    opset = [helper.make_opsetid("", 18)]
    path = tmp_path / "two.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    scale = {"modality": Modality.IMAGE, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    plain = of(path, graph_output="plain", **scale)
    assert plain == of(path, graph_output="plain", **scale)
    others = (
        of(path, graph_output="negative", **scale),
        of(path, graph_output="plain", normalise=True, **scale),
    )
    assert len({plain, *others}) == 3


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a brought class whose network is in a file that is imported late."""
    (tmp_path / "small_encoder.py").write_text(ENCODER)
    (tmp_path / "small_network.py").write_text(NETWORK)
    (tmp_path / "small_other.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    forget("small_")


def forget(prefix: str) -> None:
    for name in [name for name in sys.modules if name.startswith(prefix)]:
        del sys.modules[name]


def test_the_code_of_a_brought_class_is_part_of_its_generation(small: Path) -> None:
    before = of("small_encoder:Small")
    importlib.import_module("small_other")
    (small / "small_other.py").write_text("CHANGED = True\n")
    assert of("small_encoder:Small") == before
    (small / "small_network.py").write_text(NETWORK.replace("mean((1, 2))", "amax((1, 2))"))
    assert of("small_encoder:Small") != before


def test_a_class_may_say_itself_what_its_generation_is_of(small: Path) -> None:
    own = "    def architecture(self):\n        yield '1'\n"
    (small / "small_encoder.py").write_text(ENCODER + own)
    before = of("small_encoder:Small")
    with (small / "small_encoder.py").open("a") as file:
        file.write("# a remark\n")
    assert of("small_encoder:Small") == before
    forget("small_")
    (small / "small_encoder.py").write_text(ENCODER + own.replace("1", "second"))
    importlib.invalidate_caches()
    assert of("small_encoder:Small") != before


@pytest.mark.parametrize("installed", [False, True])
def test_a_class_is_made_of_what_its_module_imports_from_its_own_folder(
    installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "site-packages" if installed else tmp_path
    for name, text in LAYOUT.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.syspath_prepend(root)
    try:
        found = list(class_sources(importlib.import_module("pack.deep.encoders").Mine))
    finally:
        forget("pack")
        forget("beside")
    wanted = (
        set(LAYOUT) - {"pack/unrelated.py", "other.py"} - ({"beside.py"} if installed else set())
    )
    assert found[0] == "pack.deep.encoders:Mine"
    assert set(found[1::2]) == wanted
