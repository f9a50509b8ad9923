"""LangChain's CacheBackedEmbeddings, called in this process, over an embedder that asks Triton.

It runs in LangChain's environment. A request is a batch of texts.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
from langchain_classic.embeddings import (  # type: ignore[import-not-found]
    CacheBackedEmbeddings,
)
from langchain_core.embeddings import Embeddings
from langchain_core.stores import InMemoryByteStore

from benchmarks.gateway.programs.timing import Send, serve

_MAX_BATCH = 64
_STORE = InMemoryByteStore()


class _Triton(Embeddings):
    def __init__(self, url: str) -> None:
        self._http = httpx.Client(timeout=120, trust_env=False)
        self._url = url

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        parts = range(0, len(texts), _MAX_BATCH)
        return [row for start in parts for row in self._embed(texts[start : start + _MAX_BATCH])]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]

    def _embed(self, texts: list[str]) -> list[list[float]]:
        tensor = {"name": "TEXT", "shape": [len(texts), 1], "datatype": "BYTES", "data": texts}
        wanted = {"name": "EMBEDDING"}
        body = json.dumps({"inputs": [tensor], "outputs": [wanted]})
        answer = self._http.post(self._url, content=body).raise_for_status().json()
        output = answer["outputs"][0]
        dimension = output["shape"][1]
        numbers = output["data"]
        return [numbers[row * dimension : (row + 1) * dimension] for row in range(len(texts))]


def _connect(command: dict[str, Any], batches: list[Any]) -> tuple[Send, list[Any]]:
    embedder = CacheBackedEmbeddings.from_bytes_store(
        _Triton(command["url"]), _STORE, namespace="minilm", key_encoder="blake2b"
    )

    def send(texts: list[str]) -> None:
        if len(embedder.embed_documents(texts)) != len(texts):
            raise RuntimeError("not all texts were embedded")

    return send, [[payload.decode() for payload in batch] for batch in batches]


if __name__ == "__main__":
    serve(_connect)
