"""`CachedEmbedding` over a real gateway in a thread, and over a dataset of its archive."""

from __future__ import annotations

import copy
import os
import pickle
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from werkzeug.serving import make_server

from embark import Client
from embark.client import Sendable
from embark.dataset import Dataset, Format
from embark.dataset.writer import write_dataset
from embark.errors import (
    BadRequest,
    ConfigurationError,
    EmbArkError,
    ServiceError,
    Unavailable,
)
from embark.inputs import text_input
from embark.keys import Key, digest
from embark.models import Model
from embark.torch import CachedEmbedding
from embark.torch.cache import VectorCache
from tests.support.gateway import vector_of
from tests.support.generations import NEW, OLD, TwoGenerations, two_generations
from tests.support.models import DIMENSION
from tests.support.stack import wait_until

STORED = [f"stored {number}" for number in range(6)]
ABSENT = [f"absent {number}" for number in range(3)]
OOV = np.linspace(-1, 1, DIMENSION, dtype=np.float16)


def current(here: TwoGenerations) -> Model:
    """What the gateway answers with."""
    return here.gateway.following.current["words"]


def all_computed(here: TwoGenerations) -> bool:
    return len(here.computed) == len(STORED) + len(ABSENT)


@contextmanager
def served(here: TwoGenerations) -> Iterator[Client]:
    server = make_server("127.0.0.1", 0, here.gateway.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with Client(f"http://127.0.0.1:{server.server_port}") as client:
            yield client
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def filled(folder: Path) -> Iterator[TwoGenerations]:
    """A service that has STORED, knows that "bad" fails, and has an OOV vector of its own."""
    with two_generations(folder, patient=True) as here:
        here.generations.set_oov(here.old, OOV, "the test")
        wait_until(lambda: bool(current(here).oov.any()), 60, "the OOV is seen")
        here.ask(*STORED, "bad")
        here.consume()
        yield here


@pytest.fixture
def here(tmp_path: Path) -> Iterator[TwoGenerations]:
    with filled(tmp_path) as opened:
        yield opened


@pytest.fixture
def client(here: TwoGenerations) -> Iterator[Client]:
    with served(here) as opened:
        yield opened


@pytest.fixture(scope="module", params=["service", "dataset"])
def embedding(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CachedEmbedding]:
    folder = tmp_path_factory.mktemp("embedding")
    with filled(folder) as here, served(here) as client:
        source = client if request.param == "service" else exported(here, folder / "out")
        yield CachedEmbedding(source, "words")


def exported(here: TwoGenerations, output: Path) -> Dataset:
    write_dataset(here.backends, current(here), output, Format.MEMMAP)
    return Dataset(output)


def expected(
    inputs: Sequence[str], oov: torch.Tensor, there: Sequence[str] = STORED
) -> torch.Tensor:
    rows = [vector(text) if text in there else oov.detach().numpy() for text in inputs]
    return torch.from_numpy(np.array(rows, np.float32).reshape(-1, DIMENSION))


def vector(text: str) -> np.ndarray:
    key = Key("words", OLD, digest(text_input(text)))
    return vector_of(key, DIMENSION).astype(np.float16)


@settings(deadline=None)
@given(st.lists(st.sampled_from([*STORED, *ABSENT, "bad"]), max_size=12))
def test_any_batch_gives_each_input_its_own_row(
    embedding: CachedEmbedding, inputs: list[str]
) -> None:
    rows = embedding(inputs)
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows, expected(inputs, embedding.oov), rtol=0, atol=0)
    assert embedding.mask.tolist() == [text in STORED for text in inputs]
    assert [status == "hit" for status in embedding.statuses] == embedding.mask.tolist()


def test_the_gradient_goes_to_placeholders_only(embedding: CachedEmbedding) -> None:
    weights = torch.arange(1.0, 6.0).unsqueeze(1)
    rows = embedding([STORED[0], ABSENT[0], STORED[1], ABSENT[1], ABSENT[0]])
    (gradient,) = torch.autograd.grad((rows * weights).sum(), embedding.oov)
    assert gradient.tolist() == [2.0 + 4.0 + 5.0] * DIMENSION
    (none,) = torch.autograd.grad((embedding(STORED) * 3).sum(), embedding.oov)
    assert none.tolist() == [0.0] * DIMENSION


def test_the_placeholder_begins_as_the_models_oov_vector(embedding: CachedEmbedding) -> None:
    np.testing.assert_array_equal(embedding.oov.detach().numpy(), OOV.astype(np.float32))
    assert (embedding.generation, embedding.dimension) == (OLD, DIMENSION)
    assert repr(embedding) == f"CachedEmbedding(dimension={DIMENSION}, generation={OLD})"


def test_a_state_holds_the_placeholder_only(embedding: CachedEmbedding) -> None:
    assert list(embedding.state_dict()) == ["oov"]
    assert [name for name, _ in embedding.named_parameters()] == ["oov"]


def test_a_trained_placeholder_becomes_the_services(
    here: TwoGenerations, client: Client, tmp_path: Path
) -> None:
    embedding = CachedEmbedding(client, "words")
    optimiser = torch.optim.SGD(embedding.parameters(), lr=0.5)
    before = embedding.oov.detach().clone()
    embedding([*STORED, *ABSENT]).sum().backward()
    optimiser.step()
    torch.testing.assert_close(embedding.oov.detach(), before - 0.5 * len(ABSENT))
    embedding.save_oov(tmp_path / "oov.npy")
    saved = np.load(tmp_path / "oov.npy")
    assert (saved.dtype, saved.shape) == (np.float32, (DIMENSION,))
    here.generations.set_oov(here.old, saved, "trained")
    wait_until(
        lambda: np.array_equal(
            client.lookup(["never seen"], "words").embeddings[0], saved.astype(np.float16)
        ),
        5,
        "the service answers with it",
    )
    again = CachedEmbedding(client, "words", learn_oov=False)
    assert not again(ABSENT).requires_grad
    again.load_state_dict(embedding.state_dict())
    torch.testing.assert_close(again.oov.detach(), embedding.oov.detach())
    with pytest.raises(ConfigurationError, match="cannot be written"):
        embedding.save_oov(tmp_path / "none" / "oov.npy")


def test_statuses_tell_why_a_row_is_a_placeholder(client: Client) -> None:
    embedding = CachedEmbedding(client, "words")
    inputs: list[Sendable] = [STORED[0], ABSENT[0], "bad", "\ud800", b"an image"]
    inputs += [Key("pictures", OLD, bytes(16))]
    embedding(inputs)
    assert embedding.statuses == ["hit", "oov", "failed", "invalid", "invalid", "invalid"]
    assert embedding(["\ud800"]).shape == (1, DIMENSION)
    with pytest.raises(BadRequest, match="cannot be read"):
        embedding([Path("no such file")])


def test_the_second_epoch_does_not_need_the_service(client: Client) -> None:
    embedding = CachedEmbedding(client, "words")
    first = embedding(STORED)
    client.close()
    torch.testing.assert_close(embedding(STORED[::-1]), first.flip(0), rtol=0, atol=0)


def test_what_was_missing_is_asked_for_again(here: TwoGenerations, client: Client) -> None:
    embedding = CachedEmbedding(client, "words")
    embedding(ABSENT)
    assert not embedding.mask.any()
    wait_until(lambda: here.consume() == 0 and all_computed(here), 60, "they are computed")
    torch.testing.assert_close(embedding(ABSENT), expected(ABSENT, embedding.oov, STORED + ABSENT))
    assert embedding.mask.all()


def test_waiting_gives_vectors(here: TwoGenerations, client: Client) -> None:
    embedding = CachedEmbedding(client, "words", on_miss="wait", wait_s=30)
    with here.consuming():
        embedding([*ABSENT, *STORED, "bad"])
    assert embedding.statuses == ["hit"] * 9 + ["failed"]


def test_waiting_has_an_end(here: TwoGenerations, client: Client) -> None:
    embedding = CachedEmbedding(client, "words", on_miss="wait", wait_s=0.1)
    with pytest.raises(Unavailable, match=r"3 vectors of words did not come within 0\.1 s"):
        embedding([*ABSENT, *STORED])


def test_another_generation_is_refused(here: TwoGenerations, client: Client) -> None:
    embedding = CachedEmbedding(client, "words")
    embedding(STORED[:2])
    here.generations.promote(here.new, OLD)
    wait_until(lambda: current(here).generation == NEW, 60, "it is live")
    embedding(STORED[:2])
    assert embedding.mask.all()
    with pytest.raises(ConfigurationError, match=f"generation {NEW}.*trains on {OLD}"):
        embedding(STORED)
    with pytest.raises(ConfigurationError, match=f"trains on {OLD}"):
        CachedEmbedding(client, "words", generation=OLD)
    assert CachedEmbedding(client, "words").generation == NEW


def test_a_wrong_source_is_refused(here: TwoGenerations, client: Client, tmp_path: Path) -> None:
    dataset = exported(here, tmp_path / "out")
    with pytest.raises(ServiceError, match="the models are: pictures, words"):
        CachedEmbedding(client, "none")
    with pytest.raises(ConfigurationError, match="the dataset is of words"):
        CachedEmbedding(dataset, "pictures")
    with pytest.raises(ConfigurationError, match=f"asked for is words, generation {NEW}"):
        CachedEmbedding(dataset, "words", generation=NEW)
    with pytest.raises(ConfigurationError, match="cannot wait"):
        CachedEmbedding(dataset, "words", on_miss="wait")
    with pytest.raises(BadRequest, match="on_miss is 'skip'"):
        CachedEmbedding(dataset, "words", on_miss="skip")  # type: ignore[arg-type]


def test_connections_stay_in_their_process(
    here: TwoGenerations, client: Client, tmp_path: Path
) -> None:
    embedding = CachedEmbedding(client, "words")
    for duplicate in (copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="save its state_dict"):
            duplicate(embedding)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            embedding(STORED)
        except EmbArkError as error:
            os._exit(42 if "DataLoader's workers" in error.message else 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    alone = copy.deepcopy(CachedEmbedding(exported(here, tmp_path / "out"), "words"))
    torch.testing.assert_close(alone(STORED), embedding(STORED), rtol=0, atol=0)


def test_prefetching_is_what_looking_up_is(embedding: CachedEmbedding) -> None:
    samples = [(text, number) for number, text in enumerate([*STORED, *ABSENT] * 3)]

    def loader() -> DataLoader[tuple[str, int]]:
        generator = torch.Generator().manual_seed(0)
        return DataLoader(samples, batch_size=4, shuffle=True, generator=generator)  # type: ignore[arg-type]

    plain = list(loader())
    seen = 0
    for (texts, numbers), rows in embedding.prefetching(loader(), inputs=lambda one: one[0]):
        torch.testing.assert_close(numbers, plain[seen][1])
        torch.testing.assert_close(rows, expected(texts, embedding.oov), rtol=0, atol=0)
        assert embedding.mask.tolist() == [text in STORED for text in texts]
        with torch.no_grad():
            embedding.oov.add_(1)
        seen += 1
    with torch.no_grad():
        embedding.oov.sub_(seen)
    assert seen == len(plain)


def test_a_prefetched_batch_raises_in_its_place(here: TwoGenerations, client: Client) -> None:
    embedding = CachedEmbedding(client, "words")
    embedding(STORED)
    here.generations.promote(here.new, OLD)
    wait_until(lambda: current(here).generation == NEW, 60, "it is live")
    batches = embedding.prefetching([STORED, ABSENT, STORED], inputs=lambda batch: batch)
    batch, _ = next(batches)
    assert batch == STORED
    with pytest.raises(ConfigurationError, match="trains on"):
        next(batches)


def test_leaving_the_loop_ends_the_threads(client: Client) -> None:
    embedding = CachedEmbedding(client, "words", on_miss="wait", wait_s=600)
    batches = embedding.prefetching([STORED, ABSENT, ABSENT], inputs=lambda batch: batch)
    for _ in batches:
        break
    del batches
    assert not [one for one in threading.enumerate() if one.name.startswith("embark-ahead")]


@settings(deadline=None)
@given(
    st.lists(st.dictionaries(st.binary(min_size=16, max_size=16), st.integers(-9, 9))),
    st.integers(0, 6),
)
def test_a_cache_is_bounded_and_never_wrong(added: list[dict[bytes, int]], capacity: int) -> None:
    cache = VectorCache(capacity * (DIMENSION * 2 + 150), DIMENSION, "float16")
    assert cache.capacity == capacity
    known: dict[bytes, int] = {}
    for vectors in added:
        cache.add({one: np.full(DIMENSION, number, np.float16) for one, number in vectors.items()})
        known = {**vectors, **known}
        assert len(cache) == min(capacity, len(known))
        into = np.full((len(known) + 1, DIMENSION), 99, np.float32)
        found = cache.take([*known, None], into)
        assert found.sum() == len(cache)
        numbers = np.array([*known.values(), 99])
        np.testing.assert_array_equal(into[:, 0], np.where(found, numbers, 99))


def test_more_inputs_than_the_cache_holds_are_still_right(client: Client) -> None:
    embedding = CachedEmbedding(client, "words", cache_bytes=500)
    for _ in range(2):
        torch.testing.assert_close(embedding(STORED), expected(STORED, embedding.oov))
