"""The client of Triton, when Triton has more to do than it can in time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from embark.errors import InputFailure, RetinaUnavailable
from embark.models import Model, load_exported
from embark.queue.base import Lane
from embark.retina import Retina
from tests.support.stack import REPOSITORY, Stack, repository_of, running

pytestmark = pytest.mark.stack

TIMEOUT_S = 20.0
BATCH = 16
# Of the work that Triton can do in that time; what is beyond it waits for too long.
LOAD = 2.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("retina")
    with running(folder, repository=repository_of(folder / "served", "minilm")) as started:
        yield started


def embed(retina: Retina, model: Model, number: int) -> str:
    """How a batch of its own ends."""
    texts = [f"a text {number} {place}".encode() for place in range(BATCH)]
    try:
        retina.embed(model, texts, Lane.INTERACTIVE)
    except (RetinaUnavailable, InputFailure) as error:
        return error.code
    return "embedded"


def test_what_waits_for_too_long_counts_against_no_input(stack: Stack) -> None:
    (model,) = load_exported(REPOSITORY)["minilm"]
    url = f"127.0.0.1:{stack.retina_port('grpc')}"
    with closing(Retina(url, TIMEOUT_S)) as retina:
        started = time.monotonic()
        alone = [embed(retina, model, -number) for number in range(1, 9)]
        each_s = (time.monotonic() - started) / len(alone)
        assert set(alone) == {"embedded"}
        count = int(LOAD * TIMEOUT_S / each_s)
        with ThreadPoolExecutor(count) as pool:
            outcomes = Counter(pool.map(lambda number: embed(retina, model, number), range(count)))
    assert outcomes.keys() == {"embedded", "retina_busy"}, outcomes
