"""The two digests of an export: which generation it is, and whether it is up to date."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from export.encoders.base import Encoder, Weights


def generation(encoder: Encoder, weights: Weights) -> str:
    """Return 16 hexadecimal characters: BLAKE2b of weights, preprocessing and stored dtype.

    Software versions take no part: the same weights give the same vectors but for rounding.
    """
    hasher = hashlib.blake2b(digest_size=8)
    _add(hasher, encoder.name, encoder.preprocessing, encoder.dtype)
    for name, content in sorted(encoder.assets().items()):
        _add(hasher, name, content)
    for name, tensor in sorted(weights.state.items()):
        array = tensor.detach().contiguous().numpy()
        _add(hasher, name, str(array.dtype), str(array.shape), array.tobytes())
    return hasher.hexdigest()


def recipe(encoder: Encoder, source: str) -> str:
    """Return the digest of what an export is made from, known without loading any weights."""
    hasher = hashlib.blake2b(digest_size=8)
    _add(hasher, encoder.name, encoder.dtype, source)
    if Path(source).is_file():
        _add(hasher, Path(source).read_bytes())
    for name, content in sorted(encoder.assets().items()):
        _add(hasher, name, content)
    for path in _sources():
        _add(hasher, path.name, path.read_bytes())
    return hasher.hexdigest()


def _sources() -> Iterator[Path]:
    package = Path(__file__).parent
    for folder in ("encoders", "serving"):
        yield from sorted((package / folder).glob("*.py"))
    yield package / "graph.py"


def _add(hasher: hashlib.blake2b, *parts: str | bytes) -> None:
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        hasher.update(len(content).to_bytes(8, "little"))
        hasher.update(content)
