"""Codec and archive: nothing that was not written under this very key is ever returned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embark.archive import MISSING, Archive
from embark.codec import Embedding, Failure, decode, encode_embedding, encode_failure
from embark.errors import CorruptRecord, PermanentFailure
from embark.keys import Key
from embark.metrics import CORRUPT_RECORDS
from embark.models import Model
from embark.store.lmdb import LmdbStore
from tests.support.models import DIMENSION, GENERATION, catalogue

KEY = Key("words", GENERATION, b"0123456789abcdef")
VECTOR = np.linspace(-2, 2, DIMENSION, dtype=np.float32)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_vector_reads_back(dtype: str) -> None:
    found = decode(KEY, encode_embedding(KEY, VECTOR, dtype, 5), DIMENSION)
    assert isinstance(found, Embedding)
    assert found.vector.dtype == dtype
    assert found.written_ms == 5
    np.testing.assert_array_equal(found.vector, VECTOR.astype(dtype))


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e6])
def test_numbers_that_cannot_be_stored_are_refused(number: float) -> None:
    with pytest.raises(PermanentFailure):
        encode_embedding(KEY, np.array([number], np.float32), "float16", 0)


@pytest.mark.parametrize("kind", ["vector", "failure"])
def test_any_flipped_bit_is_detected(kind: str) -> None:
    record = bytearray(
        encode_embedding(KEY, VECTOR, "float16", 5)
        if kind == "vector"
        else encode_failure(KEY, Failure("code", "message", 5, 6))
    )
    for bit in range(len(record) * 8):
        record[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptRecord):
            decode(KEY, bytes(record), DIMENSION)
        record[bit // 8] ^= 1 << bit % 8


@given(st.binary(max_size=60))
def test_other_bytes_are_refused(data: bytes) -> None:
    record = encode_embedding(KEY, VECTOR, "float16", 5)
    for wrong in (data, record + data if data else b"", record[: len(data) % len(record)]):
        with pytest.raises(CorruptRecord):
            decode(KEY, wrong, DIMENSION)


@pytest.mark.parametrize(
    "other",
    [
        Key("wordz", GENERATION, KEY.digest),
        Key("words", GENERATION[::-1], KEY.digest),
        Key("words", GENERATION, KEY.digest[::-1]),
    ],
)
def test_a_record_under_another_key_is_refused(other: Key) -> None:
    with pytest.raises(CorruptRecord):
        decode(other, encode_embedding(KEY, VECTOR, "float16", 5), DIMENSION)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    opened = LmdbStore(tmp_path / "archive", 2**24)
    yield opened
    opened.close()


@pytest.fixture
def words(tmp_path: Path) -> Model:
    return catalogue(tmp_path / "models")["words"]


def test_a_corrupt_record_is_counted_missing_and_repaired(store: LmdbStore, words: Model) -> None:
    archive = Archive(store)
    record = encode_embedding(KEY, VECTOR, "float16", 5)
    store.put_many("words", GENERATION, {KEY.digest: record[:-1] + b"!"})
    counter = CORRUPT_RECORDS.labels(model="words")
    before = counter._value.get()
    assert archive.get_many(words, [KEY.digest], 1) == [MISSING]
    assert counter._value.get() == before + 1
    archive.put_many(words, {KEY.digest: record})
    (found,) = archive.get_many(words, [KEY.digest], 1)
    assert isinstance(found, Embedding)


def test_a_failure_expires(store: LmdbStore, words: Model) -> None:
    now = [1000]
    archive = Archive(store, clock_ms=lambda: now[0])
    failure = Failure("not_found", "gone", 1000, 2000)
    archive.put_many(words, {KEY.digest: encode_failure(KEY, failure)})
    assert archive.get_many(words, [KEY.digest], 1) == [failure]
    now[0] = 2000
    assert archive.get_many(words, [KEY.digest], 1) == [MISSING]
