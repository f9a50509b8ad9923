"""What stock clients of several protocols ask in tests, and what they must be answered."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from embark.client import Client
from embark.models import Vector
from tests.support.stack import wait_for_hits

KNOWN = ["a red jacket", "a blue shirt", "instructions for a vacuum cleaner"]


def known_vectors(client: Client) -> dict[str, Vector]:
    """The vectors of the known texts, once they are hits."""
    client.prefetch(KNOWN, "minilm")
    found = wait_for_hits(client, KNOWN, "minilm", 60)
    return dict(zip(KNOWN, found.embeddings, strict=True))


def mixed(name: str) -> list[str]:
    """Known texts and, for each name, one that was never asked; some of them twice."""
    return [KNOWN[1], f"never seen: {name}", KNOWN[0], KNOWN[1], f"never seen: {name}"]


def check(vectors: Any, texts: Sequence[str], known: Mapping[str, Vector]) -> None:
    """Each row is the vector of its text: the known one, or else one of its own."""
    found: dict[str, Any] = dict(known)
    assert len(vectors) == len(texts)
    for text, vector in zip(texts, vectors, strict=True):
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-2)
        np.testing.assert_allclose(vector, found.setdefault(text, vector), atol=1e-3)
    assert len({tuple(vector) for vector in found.values()}) == len(found)


def photograph() -> bytes:
    """A photograph as a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(data.astronaut()).resize((96, 96)).save(file, "JPEG")
    return file.getvalue()
