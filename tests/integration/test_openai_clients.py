"""OpenAI's client and LangChain's, unchanged, against the whole platform."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import tiktoken
import tiktoken.registry
from langchain_openai import OpenAIEmbeddings
from openai.types import CreateEmbeddingResponse

from embark.client import Client
from embark.models import Vector
from tests.support.protocols import KNOWN, check, known_vectors, mixed, photograph
from tests.support.stack import Stack, computed


@pytest.fixture
def known(client: Client) -> dict[str, Vector]:
    return known_vectors(client)


@pytest.fixture
def stock(stack: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key="any") as opened:
        yield opened


def vectors_of(answer: CreateEmbeddingResponse) -> list[list[float]]:
    assert [one.index for one in answer.data] == list(range(len(answer.data)))
    return [one.embedding for one in answer.data]


def test_every_vector_comes_in_order(stock: openai.OpenAI, known: dict[str, Vector]) -> None:
    texts = mixed("openai")
    answer = stock.embeddings.create(model="minilm", input=texts)
    check(vectors_of(answer), texts, known)
    assert answer.usage.total_tokens > 0
    floats = stock.embeddings.create(
        model="minilm", input=texts, encoding_format="float", dimensions=384, user="somebody"
    )
    np.testing.assert_allclose(vectors_of(floats), vectors_of(answer), atol=1e-7)
    (alone,) = vectors_of(stock.embeddings.create(model="minilm", input=texts[0]))
    assert alone == vectors_of(answer)[0]


def test_an_image_is_a_data_uri(stock: openai.OpenAI, client: Client) -> None:
    image = photograph()
    uri = f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"
    answer = stock.embeddings.create(
        model="inception_v3", input=[uri, uri], extra_body={"modality": "image"}
    )
    (vector,) = computed(client, [image], "inception_v3").embeddings
    np.testing.assert_array_equal(vectors_of(answer), [vector, vector])


def test_the_models_are_listed(stock: openai.OpenAI) -> None:
    assert "minilm" in [model.id for model in stock.models.list()]
    assert stock.models.retrieve("minilm").object == "model"


def test_errors_are_of_the_client_s_own_classes(stock: openai.OpenAI) -> None:
    once = stock.with_options(max_retries=0)
    with pytest.raises(openai.NotFoundError) as missing:
        once.embeddings.create(model="none", input="a")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as tokens:
        once.embeddings.create(model="minilm", input=[[1, 2], [3]])
    assert (tokens.value.code, tokens.value.param) == ("token_ids", "input")


def test_what_is_not_there_in_time_comes_when_the_client_asks_again(stock: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "minilm", "input": "late", "extra_body": {"wait_ms": 0}}
    with pytest.raises(openai.InternalServerError) as late:
        stock.with_options(max_retries=0).embeddings.create(**asked)
    assert (late.value.status_code, late.value.code) == (503, "not_ready")
    assert late.value.response.headers["Retry-After"] == "1"
    assert len(stock.with_options(max_retries=10).embeddings.create(**asked).data) == 1


def test_many_requests_at_once_are_each_answered(stack: Stack, known: dict[str, Vector]) -> None:
    async def ask() -> list[CreateEmbeddingResponse]:
        async with openai.AsyncOpenAI(base_url=f"{stack.url}/v1", api_key="any") as opened:
            asked = [
                opened.embeddings.create(model="minilm", input=mixed("async")) for _ in range(6)
            ]
            return await asyncio.gather(*asked)

    for answer in asyncio.run(ask()):
        check(vectors_of(answer), mixed("async"), known)


def test_langchain_embeds_documents_and_queries(stack: Stack, known: dict[str, Vector]) -> None:
    texts = mixed("langchain")

    async def ask() -> list[list[float]]:
        async with httpx.AsyncClient() as http:
            embedder = langchain(stack, http_async_client=http, check_embedding_ctx_length=False)
            return await embedder.aembed_documents(texts)

    with httpx.Client() as http:
        embedder = langchain(stack, http_client=http, check_embedding_ctx_length=False)
        check(embedder.embed_documents(texts), texts, known)
        check([embedder.embed_query(KNOWN[0])], KNOWN[:1], known)
    check(asyncio.run(ask()), texts, known)


def test_langchain_by_default_sends_token_ids_and_is_told_what_to_set(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In the place of the tokenizer that it would download: a token for each byte.
    every_byte = {bytes([one]): one for one in range(256)}
    encoding = tiktoken.Encoding(
        "cl100k_base", pat_str=r"[\s\S]", mergeable_ranks=every_byte, special_tokens={}
    )
    monkeypatch.setitem(tiktoken.registry.ENCODINGS, "cl100k_base", encoding)
    with (
        httpx.Client() as http,
        pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"),
    ):
        langchain(stack, http_client=http).embed_query("a text")


def langchain(stack: Stack, **options: Any) -> OpenAIEmbeddings:
    # These are aliases of its fields, which mypy does not know.
    return OpenAIEmbeddings(  # type: ignore[call-arg]
        model="minilm", base_url=f"{stack.url}/v1", api_key="any", max_retries=0, **options
    )
