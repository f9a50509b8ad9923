"""Triton's clients and its perf_analyzer, unchanged, against the whole platform."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http.aio
from tritonclient.http import (
    InferenceServerClient,
    InferInput,
    InferRequestedOutput,
    InferResult,
)
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from embark.client import Client
from embark.models import Vector
from export.tuning.fetch import fetch
from export.tuning.perf_analyzer import prepare
from tests.support.deployment import RETINA_ENVIRONMENT
from tests.support.protocols import KNOWN, check, known_vectors, mixed
from tests.support.stack import REPOSITORY, Stack, wait_until

EMBEDDING = InferRequestedOutput("EMBEDDING")
ALL_BUT_REASON = [InferRequestedOutput(name) for name in ("EMBEDDING", "STATUS", "KEY")]


@pytest.fixture
def known(client: Client) -> dict[str, Vector]:
    return known_vectors(client)


@pytest.fixture
def stock(stack: Stack) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(address(stack)) as opened:
        yield opened


def address(stack: Stack) -> str:
    return stack.url.removeprefix("http://")


def tensor(texts: Sequence[str], binary: bool = True) -> InferInput:
    content = np.array([[text.encode()] for text in texts], np.object_)
    made = InferInput("TEXT", list(content.shape), "BYTES")
    return made.set_data_from_numpy(content, binary_data=binary)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("datatype", ["FP32", "FP16"])
def test_every_vector_comes_in_order(
    stock: InferenceServerClient,
    known: dict[str, Vector],
    *,
    binary: bool,
    compression: str | None,
    datatype: str,
) -> None:
    found = stock.infer(
        "minilm",
        [tensor(mixed("triton"), binary)],
        outputs=[InferRequestedOutput("EMBEDDING", binary_data=binary)],
        parameters={"datatype": datatype},
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )
    vectors = found.as_numpy("EMBEDDING")
    assert vectors.dtype == triton_to_np_dtype(datatype)
    check(vectors.astype(np.float32), mixed("triton"), known)


def test_who_asks_for_the_status_is_answered_at_once(
    stock: InferenceServerClient, known: dict[str, Vector]
) -> None:
    texts = [KNOWN[0], f"new at {statistics(stock)}"]
    found = stock.infer("minilm", [tensor(texts)], outputs=ALL_BUT_REASON)
    assert found.as_numpy("STATUS").tolist() == [[b"hit"], [b"oov"]]
    check(found.as_numpy("EMBEDDING")[:1], texts[:1], known)
    keys = found.as_numpy("KEY")
    by_key = InferInput("KEY", list(keys.shape), "BYTES").set_data_from_numpy(keys)

    def all_hits() -> bool:
        again = stock.infer("minilm", [by_key], outputs=ALL_BUT_REASON)
        return bool((again.as_numpy("STATUS") == b"hit").all())

    wait_until(all_hits, 60, "the new text is embedded")
    again = stock.infer("minilm", [by_key], outputs=[EMBEDDING])
    check(again.as_numpy("EMBEDDING"), texts, known)


def test_the_client_reads_what_there_is(stock: InferenceServerClient) -> None:
    assert stock.is_server_live()
    assert stock.is_server_ready()
    assert stock.is_model_ready("minilm")
    assert not stock.is_model_ready("minilm", "999")
    assert not stock.is_model_ready("none")
    assert "binary_tensor_data" in stock.get_server_metadata()["extensions"]
    metadata = stock.get_model_metadata("minilm")
    assert metadata["inputs"] == [{"name": "TEXT", "datatype": "BYTES", "shape": [-1, 1]}]
    assert stock.get_model_config("minilm")["output"][0]["dims"] == [384]
    assert "minilm" in [one["name"] for one in stock.get_model_repository_index()]
    for unserved in (stock.get_log_settings, stock.get_system_shared_memory_status):
        with pytest.raises(InferenceServerException, match="not found"):
            unserved()


def test_statistics_count_the_client_s_requests(
    stock: InferenceServerClient, known: dict[str, Vector]
) -> None:
    before = statistics(stock)
    stock.async_infer("minilm", [tensor(KNOWN)]).get_result()
    after = statistics(stock)
    assert after["success"] - before["success"] == 1
    assert after["cache_hit"] - before["cache_hit"] == len(KNOWN)


def test_many_requests_at_once_are_each_answered(stack: Stack, known: dict[str, Vector]) -> None:
    async def ask() -> list[InferResult]:
        async with tritonclient.http.aio.InferenceServerClient(address(stack)) as opened:
            assert await opened.is_model_ready("minilm")
            asked = [
                opened.infer("minilm", [tensor(mixed("aio"))], outputs=[EMBEDDING])
                for _ in range(6)
            ]
            return await asyncio.gather(*asked)

    for found in asyncio.run(ask()):
        check(found.as_numpy("EMBEDDING"), mixed("aio"), known)


@pytest.mark.parametrize("batch", [1, 3])
def test_perf_analyzer_measures_the_gateway(
    stack: Stack, known: dict[str, Vector], tmp_path: Path, batch: int
) -> None:
    program = fetch(REPOSITORY.parent / ".cache" / "perf_analyzer" / "perf_analyzer")
    analyzer = prepare(program, RETINA_ENVIRONMENT, tmp_path / "libraries")
    inputs, report = tmp_path / "inputs.json", tmp_path / "report.csv"
    texts = [{"TEXT": {"content": [text], "shape": [1]}} for text in known]
    inputs.write_text(json.dumps({"data": texts}), "utf-8")
    options = f"-i http -u {address(stack)} -m minilm --concurrency-range 2 --request-count 100"
    files = ["--input-data", str(inputs), "-f", str(report)]
    with InferenceServerClient(address(stack)) as stock:
        before = statistics(stock)
        ran = analyzer.run([*options.split(), "-b", str(batch), *files], 60)
        after = statistics(stock)
    assert ran.returncode == 0, ran.stdout
    (row,) = csv.DictReader(report.read_text("utf-8").splitlines())
    assert float(row["Inferences/Second"]) > 0
    requests = after["success"] - before["success"]
    assert requests >= 100
    assert after["fail"] == before["fail"]
    assert after["cache_hit"] - before["cache_hit"] == requests * batch


def statistics(stock: InferenceServerClient) -> dict[str, int]:
    """The counts, by name."""
    (told,) = stock.get_inference_statistics("minilm")["model_stats"]
    return {name: pair["count"] for name, pair in told["inference_stats"].items()}
