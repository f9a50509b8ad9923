"""The two digests of an export: which generation it is, and whether it is up to date."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from export.encoders.base import Encoder, Weights
from export.graph import calibration_of

_MODULES = ("graph.py", "half.py", "precision.py", "preprocessing.py")
_FOLDERS = ("encoders", "serving", "sources")


def generation(encoder: Encoder, weights: Weights, precision: str) -> str:
    """Return 16 hexadecimal characters: BLAKE2b of all that decides an encoder's vectors.

    That is weights, architecture, preprocessing, stored dtype and precision, which is
    `exporting.Choices.arithmetic`. For int8, how its ranges are found counts too.
    Software versions take no part: the same weights give the same vectors but for rounding.
    """
    hasher = hashlib.blake2b(digest_size=8)
    _add(hasher, encoder.name, encoder.dtype)
    for name, content in sorted(encoder.preprocessing.files().items()):
        _add(hasher, name, content)
    _add_state(hasher, weights)
    # Of shipped encoders nothing, unless one says otherwise: what is archived stays valid.
    _add(hasher, *encoder.architecture())
    if precision != "fp32":
        _add(hasher, precision)
    if precision.startswith("int8"):
        _add(hasher, encoder.int8_method, *calibration_of(encoder))
    return hasher.hexdigest()


def recipe(encoder: Encoder, source: str, precision: str) -> str:
    """Return the digest of what an export is made from.

    Known without loading any weights, but for those that only a brought class can say.

    Args:
        encoder: what is exported.
        source: where weights come from; a file's content counts, not its name alone.
        precision: arithmetic of the compiled encoder.

    Raises:
        ConfigurationError: a file of the encoder cannot be read.
    """
    hasher = hashlib.blake2b(digest_size=8)
    _add(hasher, encoder.name, encoder.dtype, str(encoder.max_batch_size), source, precision)
    if Path(source).is_file():
        _add(hasher, Path(source).read_bytes())
    for name, content in sorted(encoder.preprocessing.files().items()):
        _add(hasher, name, content)
    _add(hasher, *encoder.architecture(), *encoder.recipe())
    if source == "auto" and encoder.carries_weights:
        _add_state(hasher, encoder.weights(source))
    for path in _sources():
        _add(hasher, path.name, path.read_bytes())
    return hasher.hexdigest()


def _sources() -> Iterator[Path]:
    package = Path(__file__).parent
    for folder in _FOLDERS:
        yield from sorted((package / folder).glob("*.py"))
    yield from (package / name for name in _MODULES)


def _add_state(hasher: hashlib.blake2b, weights: Weights) -> None:
    import torch

    for name, tensor in sorted(weights.state.items()):
        numbers = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
        _add(hasher, name, str(tensor.dtype), str(tuple(tensor.shape)), numbers.numpy().tobytes())


def _add(hasher: hashlib.blake2b, *parts: str | bytes) -> None:
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        hasher.update(len(content).to_bytes(8, "little"))
        hasher.update(content)
