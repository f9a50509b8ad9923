"""What is asked: texts and images by number, the same in every run, and what the archive holds.

The archive's vectors are drawn from a seed: how long a lookup takes does not depend on the numbers.
Peers that must compute get theirs from the real encoder.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from embark.archive import now_ms
from embark.codec import HEADER, encode_embedding
from embark.inputs import Input, InputKind, Modality
from embark.keys import Key, digest
from embark.models import Model, load_catalogue
from embark.store.base import Store
from export.encoders.samples import texts

REPOSITORY = Path("model_repository")

_KIND = {Modality.TEXT: InputKind.TEXT, Modality.IMAGE: InputKind.IMAGE}
_MODELS = {Modality.TEXT: "minilm", Modality.IMAGE: "inception_v3"}
_SENTENCES = 500
_SIDE = 96
_WRITTEN_AT_ONCE = 10_000


@dataclass(frozen=True)
class Batch:
    """Inputs of one request.

    Attributes:
        model: the model that embeds them.
        payloads: UTF-8 texts or encoded images.
    """

    model: Model
    payloads: list[bytes]

    @property
    def modality(self) -> Modality:
        """Of the inputs."""
        return self.model.facts.modality

    @property
    def digests(self) -> list[bytes]:
        """Their digests: a client that asks by key keeps these in place of the inputs."""
        kind = _KIND[self.modality]
        return [digest(Input(kind, payload)) for payload in self.payloads]

    @property
    def vector_bytes(self) -> int:
        """How long one vector is in the archive."""
        return self.model.facts.dimension * self.model.oov.dtype.itemsize


def model_of(modality: Modality) -> Model:
    """Return the shipped model that embeds a modality."""
    return load_catalogue(REPOSITORY)[_MODELS[modality]]


class Inputs:
    """Inputs of one modality: the first `known` are in archives and caches, all others are new.

    Args:
        model: the model that embeds them.
        known: how many are known.
    """

    def __init__(self, model: Model, known: int) -> None:
        self.model = model
        is_text = model.facts.modality is Modality.TEXT
        self._made = _numbered_texts() if is_text else _thumbnails()
        self.known = list(islice(self._made, known))

    @property
    def all(self) -> Batch:
        """All known inputs."""
        return Batch(self.model, self.known)

    def batch(self, count: int) -> Batch:
        """Return the first `count` known inputs."""
        return Batch(self.model, self.known[:count])

    def known_batches(self, size: int) -> list[Batch]:
        """Return all known inputs, in batches."""
        return [
            Batch(self.model, self.known[start : start + size])
            for start in range(0, len(self.known), size)
        ]

    def mixed(self, size: int, known: int, rng: np.random.Generator) -> Batch:
        """Return a batch of which `known` inputs are known, and all others were never asked."""
        chosen = rng.choice(len(self.known), known, replace=False)
        payloads = [self.known[number] for number in chosen]
        payloads += islice(self._made, size - known)
        return Batch(self.model, [payloads[number] for number in rng.permutation(size)])


def fill(store: Store, model: Model, digests: Iterable[bytes], seed: int = 0) -> int:
    """Write a vector for each digest into an archive; returns how many."""
    rng = np.random.default_rng(seed)
    rest = iter(digests)
    written = 0
    while some := list(islice(rest, _WRITTEN_AT_ONCE)):
        store.put_many(model.name, model.generation, records(model, some, rng))
        written += len(some)
    return written


def records(model: Model, digests: Sequence[bytes], rng: np.random.Generator) -> dict[bytes, bytes]:
    """Return a record with a vector of length 1 for each digest."""
    vectors = rng.normal(size=(len(digests), model.facts.dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    now = now_ms()
    name, generation, dtype = model.name, model.generation, model.facts.dtype
    return {
        one: encode_embedding(Key(name, generation, one), vector, dtype, now)
        for one, vector in zip(digests, vectors, strict=True)
    }


def vectors_of(inputs: Inputs) -> dict[bytes, bytes]:
    """Return the vectors of all known inputs as the archive keeps them, by digest."""
    digests = inputs.all.digests
    made = records(inputs.model, digests, np.random.default_rng(0))
    return {one: record[HEADER.size :] for one, record in made.items()}


def _numbered_texts() -> Iterator[bytes]:
    sentences = texts(_SENTENCES, seed=1)
    number = 0
    while True:
        yield b"%d. %s" % (number, sentences[number % _SENTENCES])
        number += 1


def _thumbnails() -> Iterator[bytes]:
    """Yield JPEG files of a few thousand bytes, no two alike."""
    rng = np.random.default_rng(0)
    while True:
        coarse = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        file = io.BytesIO()
        picture = Image.fromarray(coarse).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
        picture.save(file, "JPEG", quality=85)
        yield file.getvalue()
