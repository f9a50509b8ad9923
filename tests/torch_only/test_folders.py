"""A folder of an image model, as transformers saves it, exported and compared with transformers."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from embark.errors import ConfigurationError
from export import graph
from export.exporting import export_model
from export.sources import open_encoder
from export.sources.options import Options
from export.sources.vision_folder import image_preprocessing

SIDE = 32


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny vision transformer with random weights."""
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    folder = tmp_path_factory.mktemp("folders") / "vit"
    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=SIDE, patch_size=8, intermediate_size=32, initializer_range=0.5, **sizes
    )
    ViTModel(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def test_an_image_folder_gives_the_vectors_of_transformers(vit: Path, tmp_path: Path) -> None:
    from transformers import ViTImageProcessor, ViTModel

    photographs = [Image.fromarray(getattr(data, one)()) for one in ("astronaut", "rocket", "cat")]
    pixels = ViTImageProcessor.from_pretrained(vit)(photographs, return_tensors="pt")
    with torch.no_grad():
        expected = ViTModel.from_pretrained(vit)(**pixels)

    encoder = open_encoder(str(vit), "vit")
    export_model(encoder, tmp_path)
    prepared = graph.prepare(encoder, [png(one) for one in photographs])
    run = graph.open_graph(tmp_path / "vit_encoder" / "1" / "model.onnx")
    vectors = run(encoder.preparer.collate(prepared))
    assert vectors.shape == (3, encoder.dimension) == (3, 16)
    # Their processor resizes by torchvision, whose bytes differ by one here and there.
    np.testing.assert_allclose(vectors, expected.pooler_output.numpy(), atol=0.01)

    first = open_encoder(str(vit), "vit", Options(pooling="cls"))
    module = graph.load_module(first, first.weights("auto"))
    found = graph.reference_vectors(first, module, prepared)
    np.testing.assert_allclose(found, expected.last_hidden_state[:, 0].numpy(), atol=0.01)


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ({"size": {"height": 32, "width": 24}}, "not square"),
        ({"size": {"shortest_edge": 32}}, "must cut out a square"),
        ({"size": 32, "resample": 1}, "steps that are not supported"),
        ({"size": 32, "rescale_factor": 1}, "steps that are not supported"),
    ],
)
def test_an_image_folder_says_which_steps_cannot_be_done(
    stated: dict[str, object], reason: str, tmp_path: Path
) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
    with pytest.raises(ConfigurationError, match=reason):
        image_preprocessing(tmp_path)
