"""How a model's inputs are prepared, as data: what an encoder states, what its folder describes.

The work itself is done by `export.serving`, the same code here and inside Triton. Not for what
belongs to the graph: of `ImagePreprocessing`, only `mean` and `std` are applied there.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embark.errors import ConfigurationError
from embark.models import FACTS_FILE, OOV_FILE
from export.serving.opening import (
    CUSTOM_FILE,
    PREPROCESSING_FILE,
    TOKENIZER_FILE,
    open_preparer,
)
from export.serving.pixels import INTERPOLATIONS
from export.serving.preparer import Preparer

DTYPES = ("uint8", "int32", "int64", "float32")
_SHORTEST_BUCKET = 16
_RESERVED = {CUSTOM_FILE, PREPROCESSING_FILE, "model.py", "serving", FACTS_FILE, OOV_FILE}


@dataclass(frozen=True)
class Tensor:
    """An input of the encoder: name, numpy dtype, and shape without the batch (-1 is variable)."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Preprocessing(ABC):
    """From payloads to the encoder's tensors."""

    @property
    @abstractmethod
    def inputs(self) -> tuple[Tensor, ...]:
        """Tensors that the encoder's graph takes, in the order of its module's arguments."""

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """Return what `preprocessing.json` says: every choice in preparing an input."""

    def assets(self) -> dict[str, bytes]:
        """Return the further files that preparing needs, by name.

        Raises:
            ConfigurationError: one cannot be read.
        """
        return {}

    def files(self) -> dict[str, bytes]:
        """Return all files that the front needs in its version folder, by name."""
        description = json.dumps(self.described(), indent=2) + "\n"
        return {PREPROCESSING_FILE: description.encode(), **self.assets()}


@dataclass(frozen=True)
class ImagePreprocessing(Preprocessing):
    """Images to PIXELS, uint8 of shape (n, crop, crop, 3), RGB.

    Attributes:
        resize: length that the shorter side gets before the central square is cut out; None
            stretches the whole image to the square.
        crop: side of the square.
        interpolation: `bilinear` or `bicubic`.
        mean, std: of each channel, on a scale of 0 to 1. With them, the module is given float
            images (n, 3, crop, crop), normalised inside the graph; without, PIXELS as they are.

    Raises:
        ConfigurationError: the values do not fit together.
    """

    resize: int | None
    crop: int
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.interpolation not in INTERPOLATIONS:
            raise ConfigurationError(
                f"interpolation is {self.interpolation!r}; it can be {' or '.join(INTERPOLATIONS)}"
            )
        if self.crop < 1 or (self.resize is not None and self.resize < self.crop):
            raise ConfigurationError(
                f"an image resized to {self.resize} has no square of {self.crop}; crop must be at"
                " least 1 and at most resize"
            )
        if (self.mean is None) != (self.std is None):
            raise ConfigurationError("mean and std go together; give both or neither")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != 3:
                raise ConfigurationError(f"{name} has {len(values)} values; it needs one a channel")
        if self.std is not None and min(self.std) <= 0:
            raise ConfigurationError(f"std is {self.std}; it must be above 0")

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """PIXELS."""
        return (Tensor("PIXELS", "uint8", (self.crop, self.crop, 3)),)

    def described(self) -> dict[str, Any]:
        """Return the choices; `mean` and `std` are for readers, they are applied in the graph."""
        return {
            "kind": "image",
            "resize": self.resize,
            "crop": self.crop,
            "interpolation": self.interpolation,
            "mean": self.mean,
            "std": self.std,
        }


@dataclass(frozen=True)
class TextPreprocessing(Preprocessing):
    """Texts to INPUT_IDS and ATTENTION_MASK, int64 of shape (n, length).

    Lengths are padded to 16, 32, 64, ... `max_tokens`, so that Triton can batch.

    Attributes:
        tokenizer: a `tokenizer.json` of the library `tokenizers`.
        max_tokens: longer texts are cut there; special tokens count.
        pad_id: the token to pad with.
        prefix: put before every text.

    Raises:
        ConfigurationError: `max_tokens` is below 1.
    """

    tokenizer: Path | str
    max_tokens: int
    pad_id: int = 0
    prefix: str = ""

    def __post_init__(self) -> None:
        """Check the values."""
        if self.max_tokens < 1:
            raise ConfigurationError(f"max_tokens is {self.max_tokens}; it must be at least 1")

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """INPUT_IDS, ATTENTION_MASK."""
        return (Tensor("INPUT_IDS", "int64", (-1,)), Tensor("ATTENTION_MASK", "int64", (-1,)))

    @property
    def buckets(self) -> tuple[int, ...]:
        """Lengths that token rows are padded to, rising."""
        lengths, length = [], _SHORTEST_BUCKET
        while length < self.max_tokens:
            lengths.append(length)
            length *= 2
        return (*lengths, self.max_tokens)

    def described(self) -> dict[str, Any]:
        """Return the choices."""
        return {
            "kind": "text",
            "buckets": self.buckets,
            "pad_id": self.pad_id,
            "prefix": self.prefix,
        }

    def assets(self) -> dict[str, bytes]:
        """Return the tokenizer."""
        return {TOKENIZER_FILE: _read(Path(self.tokenizer))}


@dataclass(frozen=True)
class CustomPreprocessing(Preprocessing):
    """Payloads to any tensors, by a Python file of one's own.

    Attributes:
        file: has a function `prepare(payload: bytes) -> dict[str, numpy.ndarray]` that returns the
            arrays of one input, without a batch axis. It may import the standard library, numpy,
            Pillow and tokenizers.
        tensors: what `prepare` returns, in the order of the module's arguments; fixed shapes.
        beside: further files that it reads, put into the same folder as itself.

    Raises:
        ConfigurationError: a tensor has a variable shape, or a dtype outside `DTYPES`.
    """

    file: Path | str
    tensors: tuple[Tensor, ...]
    beside: tuple[Path | str, ...] = ()

    def __post_init__(self) -> None:
        """Check the values."""
        if not self.tensors:
            raise ConfigurationError("CustomPreprocessing needs at least one tensor")
        for tensor in self.tensors:
            if tensor.dtype not in DTYPES:
                raise ConfigurationError(
                    f"tensor {tensor.name} has dtype {tensor.dtype!r}; it can be"
                    f" {', '.join(DTYPES)}"
                )
            if any(length < 1 for length in tensor.shape):
                raise ConfigurationError(
                    f"tensor {tensor.name} has shape {tensor.shape}; own preprocessing needs fixed"
                    " lengths: pad to the longest"
                )

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The tensors as stated."""
        return self.tensors

    def described(self) -> dict[str, Any]:
        """Return the tensors; the rest is the file."""
        inputs = [
            {"name": one.name, "dtype": one.dtype, "shape": one.shape} for one in self.tensors
        ]
        return {"kind": "custom", "inputs": inputs}

    def assets(self) -> dict[str, bytes]:
        """Return the Python file and those beside it."""
        files = {Path(file).name: Path(file) for file in self.beside}
        for name in files.keys() & _RESERVED:
            raise ConfigurationError(f"a file beside {self.file} cannot be named {name}; rename it")
        read = {name: _read(path) for name, path in files.items()}
        return {**read, CUSTOM_FILE: _read(Path(self.file))}


class Staged:
    """The preparer of a preprocessing, opened as the front opens it: from a folder of its files.

    Raises:
        ConfigurationError: the files do not make a preparer.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        folder = Path(tempfile.mkdtemp(prefix="embark-preprocessing-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        for name, content in preprocessing.files().items():
            (folder / name).write_bytes(content)
        try:
            self.preparer: Preparer = open_preparer(folder)
        except Exception as error:
            raise ConfigurationError(f"the preprocessing cannot be used: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
