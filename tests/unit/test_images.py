"""Inspecting in the consumer and decoding in Retina agree on what an image is."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from consumers.inputs.image import inspect
from embark.errors import PermanentFailure
from embark.settings import InputSettings
from export.serving.invalid_input import InvalidInput
from export.serving.pixels import ImagePreparer
from export.serving.tokens import bucket_of, by_bucket, pad

LIMITS = InputSettings()
SIZE, BUCKETS = 299, (16, 32, 64, 128, 256)

decode_image = ImagePreparer(342, SIZE, "bilinear").prepare


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def photograph() -> Image.Image:
    return Image.fromarray(data.rocket())


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_formats_and_modes_are_accepted(form: str, mode: str) -> None:
    if form == "JPEG" and mode == "P":
        mode = "CMYK"
    image = encoded(photograph().convert(mode), form)
    inspect(image, LIMITS)
    pixels = decode_image(image)
    assert (pixels.shape, pixels.dtype) == ((SIZE, SIZE, 3), np.dtype(np.uint8))
    expected = decode_image(encoded(photograph(), "PNG")).astype(int)
    if mode in ("RGB", "CMYK", "P"):
        assert np.abs(pixels - expected).mean() < 20


def test_pixels_are_those_of_torchvision() -> None:
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    transform = Compose([Resize(342, InterpolationMode.BILINEAR), CenterCrop(299)])
    for name in ("astronaut", "rocket", "cat", "coffee"):
        image = Image.fromarray(getattr(data, name)())
        found = decode_image(encoded(image, "PNG"))
        np.testing.assert_array_equal(found, np.asarray(transform(image)))


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(photograph().rotate(90, expand=True), "PNG", exif=exif)
    np.testing.assert_array_equal(decode_image(turned), decode_image(encoded(photograph(), "PNG")))


def test_transparency_is_laid_on_white() -> None:
    for image in (Image.new("RGBA", (400, 400), (255, 0, 0, 0)), Image.new("LA", (400, 400))):
        assert (decode_image(encoded(image, "PNG")) == 255).all()


def test_sixteen_bits_are_scaled() -> None:
    image = Image.fromarray(np.full((400, 400), 128 << 8, np.uint16))
    assert (decode_image(encoded(image, "PNG")) == 128).all()


@pytest.mark.parametrize("size", [(1, 40_000), (40_000, 1), (1, 1), (299, 299)])
def test_extreme_shapes_are_bounded(size: tuple[int, int]) -> None:
    image = encoded(Image.new("RGB", size, "blue"), "PNG")
    inspect(image, LIMITS)
    assert decode_image(image).shape == (SIZE, SIZE, 3)


def test_a_huge_image_is_refused_by_its_header() -> None:
    bomb = encoded(Image.new("1", (30_000, 30_000)), "PNG")
    assert len(bomb) < 200_000
    with pytest.raises(PermanentFailure) as refused:
        inspect(bomb, LIMITS)
    assert refused.value.code == "image_too_large"
    with pytest.raises(InvalidInput) as invalid:
        decode_image(bomb)
    assert invalid.value.code == "image_too_large"


def test_too_many_bytes_are_refused() -> None:
    with pytest.raises(PermanentFailure) as refused:
        inspect(b"x" * 11, InputSettings(max_image_bytes=10))
    assert refused.value.code == "image_too_large"


@pytest.mark.parametrize("form", ["TIFF", "BMP", "ICO"])
def test_other_formats_are_refused(form: str) -> None:
    with pytest.raises(PermanentFailure):
        inspect(encoded(Image.new("RGB", (32, 32)), form), LIMITS)


_WHOLE = [encoded(photograph().resize((64, 48)), form) for form in ("JPEG", "PNG", "WEBP", "GIF")]


@settings(max_examples=300)
@given(st.sampled_from(_WHOLE), st.integers(0, 5000), st.binary(max_size=12), st.booleans())
def test_damaged_images_are_refused_or_decoded(
    image: bytes, position: int, noise: bytes, cut: bool
) -> None:
    at = position % len(image)
    damaged = image[:at] + noise + (b"" if cut else image[at + len(noise) :])
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            inspect(damaged, LIMITS)
            decode_image(damaged)
        except (PermanentFailure, InvalidInput) as refused:
            assert refused.code in ("not_an_image", "image_too_large")


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=256), max_size=20))
def test_every_row_is_in_the_smallest_bucket_that_holds_it(rows: list[list[int]]) -> None:
    found = by_bucket(rows, BUCKETS)
    assert sorted(position for group in found.values() for position in group) == list(
        range(len(rows))
    )
    for bucket, group in found.items():
        tensors = pad([rows[position] for position in group], bucket)
        assert tensors["INPUT_IDS"].shape == (len(group), bucket)
        for position, mask in zip(group, tensors["ATTENTION_MASK"], strict=True):
            assert mask.sum() == len(rows[position])
            assert bucket_of(len(rows[position]), BUCKETS) == bucket
    assert bucket_of(BUCKETS[-1], BUCKETS) == BUCKETS[-1]
