"""Preprocessing as Triton runs it: what a folder describes, and a user's own file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from embark.errors import ConfigurationError
from export.encoders import find
from export.preprocessing import (
    CustomPreprocessing,
    ImagePreprocessing,
    Staged,
    Tensor,
    TextPreprocessing,
)
from export.serving.invalid_input import InvalidInput
from export.serving.opening import open_preparer
from export.serving.pixels import ImagePreparer

NUMBERS = (Tensor("NUMBERS", "float32", (2,)),)


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("resize", "crop"), [(342, 299), (232, 224), (64, 33)])
def test_pixels_are_those_of_torchvision(resize: int, crop: int, interpolation: str) -> None:
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    transform = Compose([Resize(resize, InterpolationMode(interpolation)), CenterCrop(crop)])
    preparer = ImagePreparer(resize, crop, interpolation)
    for name in ("rocket", "cat"):
        image = Image.fromarray(getattr(data, name)())
        np.testing.assert_array_equal(preparer.prepare(png(image)), np.asarray(transform(image)))


def test_a_stretched_image_is_all_there() -> None:
    image = Image.fromarray(data.rocket())
    found = ImagePreparer(None, 96, "bicubic").prepare(png(image))
    expected = np.asarray(image.resize((96, 96), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(found, expected)


def test_text_lengths_are_padded_to_buckets_and_cut() -> None:
    tokenizer = find("minilm").preprocessing.tokenizer  # type: ignore[attr-defined]
    preprocessing = TextPreprocessing(tokenizer, 40, pad_id=9, prefix="query: ")
    assert preprocessing.buckets == (16, 32, 40)
    preparer = Staged(preprocessing).preparer
    rows = [preparer.prepare(text) for text in (b"", b"word " * 20, b"word " * 100)]
    assert [len(row) for row in rows] == [4, 24, 40]
    batches = preparer.batches(rows)
    lengths = [tensors["INPUT_IDS"].shape for _, tensors in batches]
    assert lengths == [(1, 16), (1, 32), (1, 40)]
    assert (batches[0][1]["INPUT_IDS"][0, 4:] == 9).all()
    assert preparer.collate(rows[:2], padded=False)["ATTENTION_MASK"].sum(1).tolist() == [4, 24]


def test_what_is_not_text_is_refused() -> None:
    with pytest.raises(InvalidInput, match="byte 1") as refused:
        find("minilm").preparer.prepare(b"a\xff")
    assert refused.value.code == "invalid_text"


def own(folder: Path, body: str, *beside: Path) -> CustomPreprocessing:
    file = folder / "mine.py"
    file.write_text(f"import numpy as np\n{body}", "utf-8")
    return CustomPreprocessing(file, NUMBERS, beside)


def test_own_preprocessing_reads_what_is_beside_it(tmp_path: Path) -> None:
    (tmp_path / "scale.txt").write_text("3")
    body = (
        "from pathlib import Path\n"
        "SCALE = float(Path(__file__).with_name('scale.txt').read_text())\n"
        "def prepare(payload):\n"
        "    return {'NUMBERS': np.array([len(payload), SCALE], np.float32)}\n"
    )
    preparer = Staged(own(tmp_path, body, tmp_path / "scale.txt")).preparer
    batch = preparer.collate([preparer.prepare(b"ab"), preparer.prepare(b"")])
    assert batch["NUMBERS"].tolist() == [[2, 3], [0, 3]]


@pytest.mark.parametrize(
    ("body", "error", "reason"),
    [
        ("raise Refused('too short')", InvalidInput, "too short"),
        ("raise ValueError('a fault')", ValueError, "a fault"),
        ("raise SystemExit(3)", RuntimeError, "exit"),
        ("return None", TypeError, "NoneType"),
        ("return {'OTHER': 1}", TypeError, "OTHER"),
        ("return {'NUMBERS': np.zeros(2)}", TypeError, "float64"),
        ("return {'NUMBERS': np.zeros(3, np.float32)}", TypeError, r"\(3,\)"),
    ],
)
def test_own_preprocessing_refuses_or_fails(
    tmp_path: Path, body: str, error: type[Exception], reason: str
) -> None:
    text = "class Refused(ValueError):\n    code = 'too_short'\ndef prepare(payload):\n    " + body
    preparer = Staged(own(tmp_path, text)).preparer
    with pytest.raises(error, match=reason) as raised:
        preparer.prepare(b"")
    assert type(raised.value) is error
    assert getattr(raised.value, "code", None) == ("too_short" if error is InvalidInput else None)


@pytest.mark.parametrize(
    ("body", "reason"),
    [("import nowhere", "cannot be imported"), ("x = 1", "no function prepare")],
)
def test_a_file_that_cannot_prepare_is_refused(tmp_path: Path, body: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        Staged(own(tmp_path, body))


def test_a_file_beside_may_not_replace_one_of_ours(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("")
    with pytest.raises(ConfigurationError, match=r"model\.py"):
        own(tmp_path, "", tmp_path / "model.py").files()


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    for name, content in ImagePreprocessing(8, 8).files().items():
        (tmp_path / name).write_bytes(content.replace(b"image", b"sound"))
    with pytest.raises(ValueError, match="sound"):
        open_preparer(tmp_path)
