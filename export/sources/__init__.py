"""Where encoders come from: shipped ones, a Python class, a folder or an ONNX file of a user."""

from __future__ import annotations

import re
from pathlib import Path

from embark.errors import ConfigurationError
from embark.inputs import Modality
from export.encoders import ENCODERS, find
from export.encoders.base import Encoder
from export.preprocessing import Preprocessing
from export.sources.options import UNSAID, Options

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_RESERVED_END = "_encoder"


def open_encoder(target: str, name: str | None = None, options: Options = UNSAID) -> Encoder:
    """Return the encoder that a target means.

    Args:
        target: a shipped encoder's name, `module:Class`, a folder of transformers or
            sentence-transformers, or an `.onnx` file.
        name: public model name of a brought encoder.
        options: see `Options`; shipped encoders and classes take none.

    Raises:
        ConfigurationError: there is no such thing, it cannot be an encoder, or the name is taken.
    """
    if target in ENCODERS:
        _refuse_options(target, options)
        if name not in (None, target):
            raise ConfigurationError(f"{target} is shipped and keeps its name; leave out --name")
        return find(target)
    path = Path(target)
    if path.suffix == ".onnx":
        if not path.is_file():
            raise ConfigurationError(f"{target} does not exist, or is no file")
        from export.sources.onnx_file import OnnxFile

        return _named(OnnxFile(path, options), name)
    if ":" in target:
        from export.sources.python_class import open_class

        _refuse_options(target, options)
        return _named(open_class(target), name)
    if path.is_dir():
        from export.sources.folder import open_folder

        return _named(open_folder(path, options), name)
    if "/" in target:
        raise ConfigurationError(f"{target} does not exist, or is no folder")
    raise ConfigurationError(
        f"{target!r} is neither a shipped encoder ({', '.join(ENCODERS)}), nor module:Class, nor a"
        " folder, nor an .onnx file"
    )


def _named(encoder: Encoder, name: str | None) -> Encoder:
    encoder.name = name or encoder.name
    if not encoder.name:
        raise ConfigurationError("a brought encoder needs a name: --name NAME")
    if not _NAME.fullmatch(encoder.name):
        raise ConfigurationError(
            f"{encoder.name!r} cannot be a model's name; use at most 64 of a-z, 0-9, _ . - and"
            " begin with a letter or a digit"
        )
    if encoder.name.endswith(_RESERVED_END):
        raise ConfigurationError(
            f"{encoder.name!r} ends in {_RESERVED_END}, as only the parts of models do in Triton;"
            " choose another name"
        )
    if encoder.name in ENCODERS:
        raise ConfigurationError(f"{encoder.name!r} is a shipped encoder; choose another name")
    _check(encoder)
    return encoder


def _check(encoder: Encoder) -> None:
    """Check what a brought encoder states."""
    title = type(encoder).__name__
    for attribute in ("modality", "dimension"):
        if not hasattr(encoder, attribute):
            raise ConfigurationError(f"{title} has no {attribute}; see docs/encoders.md")
    try:
        encoder.modality = Modality(encoder.modality)
    except ValueError:
        known = " or ".join(one.value for one in Modality)
        raise ConfigurationError(
            f"{title} has modality {encoder.modality!r}; it can be {known}"
        ) from None
    if not isinstance(encoder.preprocessing, Preprocessing):
        raise ConfigurationError(
            f"{title}.preprocessing is a {type(encoder.preprocessing).__name__}; use"
            " ImagePreprocessing, TextPreprocessing or CustomPreprocessing"
        )
    if not 1 <= encoder.dimension <= 65535:
        raise ConfigurationError(f"{title} has dimension {encoder.dimension}; use 1 to 65535")
    if encoder.dtype not in ("float16", "float32"):
        raise ConfigurationError(f"{title} has dtype {encoder.dtype!r}; use float16 or float32")
    if encoder.max_batch_size < 1:
        raise ConfigurationError(
            f"{title} has max_batch_size {encoder.max_batch_size}; use 1 or more"
        )


def _refuse_options(target: str, options: Options) -> None:
    if options != UNSAID:
        raise ConfigurationError(
            f"{target} says itself how its inputs are prepared; options such as --size, --tokenizer"
            " or --pooling are for folders and ONNX files"
        )
