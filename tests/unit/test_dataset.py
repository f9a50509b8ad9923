"""Datasets out of a real embedded archive: what was written under a digest is what is read."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from embark.archive import now_ms
from embark.backends import ARCHIVE_FOLDER
from embark.cli import main
from embark.client import Sendable
from embark.codec import encode_embedding
from embark.dataset import Dataset, Format
from embark.dataset import digests as digesting
from embark.dataset.memmap import GrowingArray
from embark.dataset.records import PAGE
from embark.dataset.writer import write_dataset
from embark.errors import BadRequest, ConfigurationError
from embark.inputs import Input, InputKind, image_input, image_url_input, text_input
from embark.keys import Key, digest
from embark.sources import Source, Sources
from tests.support.gateway import Service, service, vector_of
from tests.support.models import DIMENSION, GENERATION

OTHER_GENERATION = "fedcba9876543210"


def words_key(text: str) -> Key:
    return Key("words", GENERATION, digest(text_input(text)))


def stored(text: str) -> np.ndarray:
    return vector_of(words_key(text), DIMENSION).astype(np.float16)


def put(here: Service, *texts: str) -> None:
    keys = [words_key(text) for text in texts]
    records = {
        key.digest: encode_embedding(key, vector_of(key, DIMENSION), "float16", now_ms())
        for key in keys
    }
    here.store.put_many("words", GENERATION, records)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path) as opened:
        yield opened


@pytest.fixture
def configured(here: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    """The service's archive where the command looks for it."""
    monkeypatch.setenv("EMBARK_DATA", str(tmp_path))
    monkeypatch.setenv("EMBARK_RETINA__MODEL_REPOSITORY", str(tmp_path / "models"))
    assert (tmp_path / ARCHIVE_FOLDER).is_dir()
    return here


def write(here: Service, output: Path, form: Format = Format.MEMMAP, **more: object) -> Dataset:
    write_dataset(here.backends, here.models["words"], output, form, **more)  # type: ignore[arg-type]
    return Dataset(output)


def test_every_vector_of_the_generation_comes_once(here: Service, tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(2 * PAGE + 3)]
    put(here, *texts)
    other = Key("words", OTHER_GENERATION, words_key("other").digest)
    here.store.put_many("words", OTHER_GENERATION, {other.digest: b"of another generation"})
    here.put_vector(Key("pictures", GENERATION, bytes(16)), np.ones(DIMENSION, np.float32))
    told: list[tuple[int, int]] = []
    dataset = write(here, tmp_path / "out", report=lambda *progress: told.append(progress))
    assert len(dataset) == len(texts)
    assert dataset.embeddings.dtype == np.float16
    assert (np.diff(dataset.digests.view(">u8")[:, 0].astype(np.float64)) >= 0).all()
    vectors, found = dataset.get(texts)
    assert found.all()
    np.testing.assert_array_equal(vectors, [stored(text) for text in texts])
    assert told[-1] == (len(texts), len(texts))
    assert dataset.manifest.model_dump(exclude={"created", "version"}) == {
        "format": Format.MEMMAP,
        "model": "words",
        "generation": GENERATION,
        "dimension": DIMENSION,
        "dtype": "float16",
        "count": len(texts),
        "inputs": None,
        "missing": 0,
        "failed": 0,
        "corrupt": 0,
    }


def test_what_is_not_there_is_zeros_and_not_found(here: Service, tmp_path: Path) -> None:
    put(here, "a", "b")
    dataset = write(here, tmp_path / "out")
    wanted: list[Sendable] = ["b", "absent", words_key("a"), "b"]
    vectors, found = dataset.get(wanted)
    assert found.tolist() == [True, False, True, True]
    expected = [stored("b"), np.zeros(DIMENSION), stored("a"), stored("b")]
    np.testing.assert_array_equal(vectors, expected)
    by_digest = dataset.get(digesting.as_array(digesting.digest_of(one, "words") for one in wanted))
    np.testing.assert_array_equal(by_digest.vectors, vectors)
    with pytest.raises(BadRequest, match="is of pictures, not of words"):
        dataset.get([Key("pictures", GENERATION, bytes(16))])


def test_failures_and_damaged_records_are_counted_and_left_out(
    here: Service, tmp_path: Path
) -> None:
    put(here, "good")
    here.put_failure(words_key("failed"))
    (record,) = here.store.get_many("words", GENERATION, [words_key("good").digest], 1)
    assert isinstance(record, bytes)
    here.store.put_many("words", GENERATION, {words_key("damaged").digest: record})
    manifest = write(here, tmp_path / "out").manifest
    assert (manifest.count, manifest.failed, manifest.corrupt, manifest.missing) == (1, 1, 1, 0)


def test_an_empty_archive_gives_an_empty_dataset(here: Service, tmp_path: Path) -> None:
    dataset = write(here, tmp_path / "out")
    assert dataset.embeddings.shape == (0, DIMENSION)
    assert dataset.get(["a"]).found.tolist() == [False]
    assert dataset.get([]).vectors.shape == (0, DIMENSION)
    write_dataset(here.backends, here.models["words"], tmp_path / "table", Format.PARQUET)
    assert len(parquet.read_table(tmp_path / "table")) == 0


def test_inputs_keep_their_order_and_their_duplicates(here: Service, tmp_path: Path) -> None:
    put(here, "a", "b", "c")
    here.put_failure(words_key("failed"))
    lines = ["b", "absent", "a", "b", "failed", "absent"]
    inputs = [text_input(line) for line in lines]
    dataset = write(here, tmp_path / "out", inputs=inputs)
    assert len(dataset) == 2
    assert dataset.rows is not None
    assert (dataset.rows >= 0).tolist() == [True, False, True, True, False, False]
    np.testing.assert_array_equal(
        dataset.embeddings[dataset.rows[[0, 2, 3]]], [stored("b"), stored("a"), stored("b")]
    )
    manifest = dataset.manifest
    assert (manifest.inputs, manifest.missing, manifest.failed) == (6, 2, 1)
    table = write_dataset(
        here.backends, here.models["words"], tmp_path / "table", Format.PARQUET, inputs=inputs
    )
    assert (table.inputs, table.missing, table.failed, table.count) == (6, 2, 1, 3)
    rows = parquet.read_table(tmp_path / "table" / "embeddings.parquet").to_pylist()
    assert [row["key"] for row in rows] == [str(words_key(line)) for line in lines]
    for row, line in zip(rows, lines, strict=True):
        expected = stored(line).tolist() if line in "ab" else None
        assert row["embedding"] == expected
        assert (row["written_at"] is None) == (expected is None)


@pytest.mark.parametrize(("model", "dtype"), [("words", "halffloat"), ("pictures", "float")])
def test_parquet_has_the_inputs_beside_the_vectors(
    here: Service, tmp_path: Path, model: str, dtype: str
) -> None:
    remembered = [text_input("schön"), image_url_input("http://host/a.png"), image_input(b"image")]
    forgotten, unknown = text_input("forgotten"), text_input("unknown")
    sources = {digest(one): Source(one.kind, one.payload) for one in remembered}
    sources[digest(forgotten)] = Source(InputKind.TEXT, None)
    Sources(here.backends.ledger).remember(model, sources)
    keys = {}
    for one in (*remembered, forgotten, unknown):
        keys[digest(one)] = key = Key(model, GENERATION, digest(one))
        here.put_vector(key, vector_of(key, DIMENSION))
    write_dataset(here.backends, here.models[model], tmp_path / "out", Format.PARQUET)
    table = parquet.read_table(tmp_path / "out")
    assert str(table.schema.field("embedding").type.value_type) == dtype
    found = {row["digest"]: row for row in table.to_pylist()}
    assert found.keys() == keys.keys()
    for row in found.values():
        vector = vector_of(keys[row["digest"]], DIMENSION)
        expected = vector.astype(here.models[model].facts.dtype)
        np.testing.assert_array_equal(np.array(row["embedding"], expected.dtype), expected)
        assert row["written_at"].year >= 2024
    told = {one.payload: _told(found, one) for one in (*remembered, forgotten, unknown)}
    assert told == {
        "schön".encode(): ("text", "schön"),
        b"http://host/a.png": ("image_url", "http://host/a.png"),
        b"image": ("image", None),
        b"forgotten": ("text", None),
        b"unknown": (None, None),
    }
    with pytest.raises(ConfigurationError, match="not a dataset of arrays"):
        Dataset(tmp_path / "out")


def _told(found: dict[bytes, dict[str, object]], one: Input) -> tuple[object, object]:
    row = found[digest(one)]
    return row["kind"], row["input"]


def test_an_existing_output_is_not_touched(here: Service, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(BadRequest, match="exists"):
        write(here, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("form", list(Format))
def test_an_error_in_the_middle_leaves_nothing(here: Service, tmp_path: Path, form: Format) -> None:
    put(here, *(f"text {number}" for number in range(PAGE + 1)))
    before = sorted(tmp_path.iterdir())

    def fail(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(here, tmp_path / "out", form, report=fail)
    assert sorted(tmp_path.iterdir()) == before


KILLED_EXPORT = """
import os, signal
from pathlib import Path
from embark.backends import open_backends
from embark.config import load
from embark.dataset import Format
from embark.dataset.writer import write_dataset
from embark.models import load_catalogue

def die(done, total):
    if done:
        os.kill(os.getpid(), signal.SIGKILL)

settings = load().settings
model = load_catalogue(settings.retina.model_repository)["words"]
output = settings.data / "out"
write_dataset(open_backends(settings), model, output, Format.MEMMAP, report=die)
"""


def test_a_killed_export_leaves_no_dataset(configured: Service, tmp_path: Path) -> None:
    put(configured, *(f"text {number}" for number in range(PAGE + 1)))
    configured.gateway.close()
    ended = subprocess.run([sys.executable, "-c", KILLED_EXPORT], timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.glob(".out.*/embeddings.npy"))


def test_a_folder_that_is_no_dataset_is_refused(here: Service, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no dataset\.json"):
        Dataset(tmp_path)
    put(here, "a")
    write(here, tmp_path / "out")
    (tmp_path / "out" / "dataset.json").write_text('{"version": 2}')
    with pytest.raises(ConfigurationError, match="version"):
        Dataset(tmp_path / "out")
    write(here, tmp_path / "damaged")
    np.save(tmp_path / "damaged" / "embeddings.npy", np.zeros((2, DIMENSION), np.float16))
    with pytest.raises(ConfigurationError, match="export again"):
        Dataset(tmp_path / "damaged")


def test_a_pickled_dataset_opens_its_folder(here: Service, tmp_path: Path) -> None:
    put(here, *(f"text {number}" for number in range(100)))
    dataset = write(here, tmp_path / "out")
    pickled = pickle.dumps(dataset)
    assert len(pickled) < dataset.embeddings.nbytes
    np.testing.assert_array_equal(pickle.loads(pickled).embeddings, dataset.embeddings)


@settings(deadline=None)
@given(st.lists(st.binary(min_size=16, max_size=16)), st.lists(st.binary(min_size=16, max_size=16)))
def test_digests_are_found_where_they_are(there: list[bytes], others: list[bytes]) -> None:
    unique, counts = digesting.distinct(digesting.as_array(there))
    assert digesting.as_bytes(unique) == sorted(set(there))
    assert counts.tolist() == [there.count(one) for one in sorted(set(there))]
    wanted = [*others, *there, bytes(16), b"\xff" * 16]
    rows = digesting.find(unique, digesting.as_array(wanted))
    assert rows.tolist() == [
        sorted(set(there)).index(one) if one in there else -1 for one in wanted
    ]
    digests = digesting.as_array(there)
    digesting.sort(digests)
    assert digesting.as_bytes(digests) == sorted(there)


@settings(deadline=None)
@given(st.lists(st.integers(0, 300), max_size=5))
def test_a_growing_array_is_what_numpy_reads(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int]
) -> None:
    path = tmp_path_factory.mktemp("npy") / "array.npy"
    parts = [np.full((length, 3), number, np.float32) for number, length in enumerate(lengths)]
    with GrowingArray(path, (3,), "float32") as array:
        for part in parts:
            array.append(part)
    np.testing.assert_array_equal(np.load(path), np.concatenate([np.zeros((0, 3)), *parts]))


def test_the_command_says_what_it_wrote(
    configured: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(configured, "a", "b")
    configured.gateway.close()
    output = tmp_path / "out"
    command = ["archive", "export", "words", "--output", str(output), "--json"]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["output"], told["count"]) == (str(output), 2)
    assert len(Dataset(output)) == 2
    assert main(command) == 2
    assert "exists" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert main([*command[:-2], str(tmp_path / "x"), "--generation", "f"]) == 2
    assert "no generation of words begins with 'f'" in capsys.readouterr().err


def test_the_command_reports_lines_without_a_vector(
    configured: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(configured, "a")
    configured.gateway.close()
    lines = tmp_path / "lines.txt"
    lines.write_text("a\nabsent\na\n")
    command = ["archive", "export", "words", "--inputs", str(lines), "--output"]
    assert main([*command, str(tmp_path / "out"), "--generation", GENERATION[:4]]) == 1
    assert "1 of 3 lines have no vector yet" in capsys.readouterr().out
    assert Dataset(tmp_path / "out").get(["a", "absent"]).found.tolist() == [True, False]
    urls = tmp_path / "urls.txt"
    urls.write_text("http://host/a.png\nno url\n")
    command = ["archive", "export", "pictures", "--inputs", str(urls), "--output"]
    assert main([*command, str(tmp_path / "pictures")]) == 2
    assert f"{urls}, line 2: image_url must be" in capsys.readouterr().err
    assert not (tmp_path / "pictures").exists()
