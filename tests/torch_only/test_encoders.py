"""The modules of encoders: padding, pooling, normalisation; and what encoders state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from embark.errors import ConfigurationError
from export import (
    CustomPreprocessing,
    Encoder,
    ImagePreprocessing,
    Modality,
    Tensor,
    TextPreprocessing,
    Weights,
    identity,
)
from export.encoders import ENCODERS
from export.encoders.attentive_lstm import AttentiveLstm
from export.encoders.normalised import Normalised
from export.encoders.samples import drawings, texts
from export.engines import capabilities
from export.exporting import export_model
from export.graph import load_module, reference_vectors, samples_of
from export.triton_config import engine_file

LENGTHS = torch.tensor([5, 9, 1, 12])


def batch(vocabulary: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    mask = (torch.arange(12) < LENGTHS[:, None]).long()
    return torch.randint(1, vocabulary, mask.shape) * mask, mask


def test_lstm_states_are_those_of_a_packed_bidirectional_lstm() -> None:
    module = AttentiveLstm(50, embedding=8, hidden=6, attention=4, hops=2, dimension=5).eval()
    packed = nn.LSTM(8, 6, batch_first=True, bidirectional=True)
    for suffix, source in (("", module.forwards), ("_reverse", module.backwards)):
        for name, values in source.named_parameters():
            getattr(packed, name + suffix).data = values.data
    ids, mask = batch(50)
    with torch.no_grad():
        sequences = nn.utils.rnn.pack_padded_sequence(
            module.embedding(ids), LENGTHS, batch_first=True, enforce_sorted=False
        )
        expected, _ = nn.utils.rnn.pad_packed_sequence(packed(sequences)[0], batch_first=True)
        found = module.states(ids, mask) * mask.unsqueeze(-1)
    torch.testing.assert_close(found, expected)


def test_padding_changes_no_vector_of_text_lstm() -> None:
    module = AttentiveLstm(50, embedding=8, hidden=6, attention=4, hops=2, dimension=5).eval()
    ids, mask = batch(50)
    with torch.no_grad():
        together = module(ids, mask)
        alone = [module(ids[i : i + 1, :n], mask[i : i + 1, :n]) for i, n in enumerate(LENGTHS)]
        ids[mask == 0] = 7
        torch.testing.assert_close(module(ids, mask), together)
    torch.testing.assert_close(together, torch.cat(alone))


def test_normalisation_is_that_of_torchvision() -> None:
    from torchvision.transforms.functional import normalize, to_tensor

    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    found = Normalised(nn.Identity(), mean, std)(torch.from_numpy(pixels))
    expected = torch.stack([normalize(to_tensor(one), mean, std) for one in pixels])
    torch.testing.assert_close(found, expected)


def test_samples_are_the_same_each_time_and_others_for_calibration() -> None:
    assert texts() == texts()
    assert drawings(2) == drawings(2)
    assert not set(texts(32, seed=1)) & set(texts())
    assert drawings(2, seed=1) != drawings(2)


@pytest.mark.parametrize("name", list(ENCODERS))
def test_a_card_describes_every_shipped_encoder(name: str) -> None:
    card = (Path(__file__).parents[2] / "docs" / "cards" / f"{name}.md").read_text("utf-8")
    encoder = ENCODERS[name]
    assert str(encoder.dimension) in card.replace(",", "")
    for heading in ("Input", "Output", "Weights", "Licence", "Verified", "Limits"):
        assert heading in card


def image(**values: object) -> ImagePreprocessing:
    return ImagePreprocessing(**{"resize": 8, "crop": 8, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (lambda: image(crop=9), "no square of 9"),
        (lambda: image(interpolation="nearest"), "'nearest'"),
        (lambda: image(mean=(0.5, 0.5, 0.5)), "go together"),
        (lambda: image(mean=(0.5, 0.5, 0.5), std=(0, 1, 1)), "above 0"),
        (lambda: image(mean=(0.5,), std=(1.0,)), "one a channel"),
        (lambda: TextPreprocessing("tokenizer.json", 0), "at least 1"),
        (lambda: TextPreprocessing("missing.json", 8).files(), "missing.json cannot be read"),
        (lambda: CustomPreprocessing("prepare.py", ()), "at least one"),
        (lambda: CustomPreprocessing("p.py", (Tensor("A", "int8", (1,)),)), "'int8'"),
        (lambda: CustomPreprocessing("p.py", (Tensor("A", "uint8", (-1,)),)), "fixed"),
    ],
)
def test_preprocessing_that_cannot_work_is_refused(wrong: object, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        wrong()  # type: ignore[operator]


class Tiny(Encoder):
    """A brought encoder whose module is given to it."""

    name = "tiny"
    modality = Modality.IMAGE
    dimension = 3
    preprocessing = image()

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def module(self) -> nn.Module:
        return self.network


class Mean(nn.Module):
    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.float().mean((1, 2)) * self.factor


class Pair(nn.Module):
    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return pixels, pixels


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (nn.Flatten(), r"shape \(1, 192\)"),
        (Pair(), "a tuple"),
        (Mean(1e6), "float16 cannot hold"),
        (Mean(float("nan")), "float16 cannot hold"),
        (Mean(1e-10), "too small for float16"),
        (nn.Linear(4, 3), "the module fails on PIXELS"),
    ],
)
def test_a_module_that_is_not_what_the_encoder_states_is_refused(
    network: nn.Module, reason: str
) -> None:
    encoder = Tiny(network)
    prepared = [encoder.preparer.prepare(drawings(1)[0])]
    with pytest.raises(ConfigurationError, match=reason):
        reference_vectors(encoder, network, prepared)


def test_an_encoder_that_gives_all_inputs_one_vector_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the same vector"):
        export_model(Tiny(Mean(0.0)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_usual_samples_that_the_preprocessing_refuses_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "prepare.py"
    file.write_text(
        "import numpy as np\n"
        "class Empty(ValueError):\n    code = 'empty_text'\n"
        "def prepare(payload):\n"
        "    if len(payload) < 1:\n        raise Empty('too short')\n"
        "    return {'LENGTH': np.array([len(payload)], np.float32)}\n"
    )

    class Lengths(Encoder):
        name = "lengths"
        modality = Modality.TEXT
        dimension = 1
        preprocessing = CustomPreprocessing(file, (Tensor("LENGTH", "float32", (1,)),))

        def module(self) -> nn.Module:
            return nn.Identity()

    assert samples_of(Lengths()) == texts()[1:]
    file.write_text(file.read_text().replace("< 1", "< 10**6"))
    with pytest.raises(ConfigurationError, match="0 inputs that the preprocessing takes"):
        samples_of(Lengths())


def test_samples_are_bytes() -> None:
    class Wrong(Tiny):
        def samples(self) -> list[bytes]:
            return ["a text"]  # type: ignore[list-item]

    with pytest.raises(ConfigurationError, match=r"samples\(\) has a str"):
        samples_of(Wrong(Mean()))


def test_weights_that_only_the_module_knows_are_part_of_the_recipe() -> None:
    def recipe(factor: float, source: str = "auto") -> str:
        return identity.recipe(Tiny(Mean(factor)), source, "fp32")

    assert recipe(1.0) == recipe(1.0) != recipe(2.0)
    assert recipe(1.0, "a file") == recipe(2.0, "a file")


def test_weights_come_from_the_module_or_from_a_file(tmp_path: Path) -> None:
    encoder, path = Tiny(Mean(2.0)), tmp_path / "trained.pth"
    torch.save(Mean(3.0).state_dict(), path)
    assert encoder.weights("auto").state["factor"] == 2.0
    assert encoder.weights(str(path)).state["factor"] == 3.0
    path.write_bytes(b"nothing")
    with pytest.raises(ConfigurationError, match="holds no weights"):
        encoder.weights(str(path))
    with pytest.raises(ConfigurationError, match="not of this module"):
        load_module(encoder, Weights({"other": torch.zeros(1)}, "test"))


def test_a_generation_is_of_weights_preprocessing_and_precision() -> None:
    def generation(factor: float = 1.0, precision: str = "fp32", **values: object) -> str:
        encoder = Tiny(Mean(factor))
        encoder.preprocessing = image(**values)
        return identity.generation(encoder, encoder.weights("auto"), precision)

    changed = [
        generation(2.0),
        generation(interpolation="bicubic"),
        generation(resize=9),
        generation(mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0)),
        generation(precision="fp16"),
        generation(precision="int8"),
    ]
    assert len({generation(), *changed}) == len(changed) + 1
    assert generation() == generation()


def test_engines_of_a_version_are_found_by_their_names(tmp_path: Path) -> None:
    assert capabilities(tmp_path / "1") == []
    for capability in ("12.0", "8.9"):
        (tmp_path / engine_file(capability)).touch()
    (tmp_path / "model.onnx").touch()
    assert capabilities(tmp_path) == ["12.0", "8.9"]
