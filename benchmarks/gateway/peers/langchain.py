"""LangChain's CacheBackedEmbeddings, in memory, over the same Triton: a library, not a service.

It is called inside the client's process, which spares it HTTP and sharing: each client has a cache
of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.gateway.clients import Call
from benchmarks.gateway.peers.triton import Triton
from benchmarks.gateway.place import environment_of
from benchmarks.gateway.workload import Batch
from embark.inputs import Modality


class LangChain:
    """Texts in, lists of floats out.

    Args:
        triton: what the embedder below the cache asks.

    Raises:
        Stopped: its environment cannot be made.
    """

    name = "LangChain's cache, in process"
    modalities = frozenset((Modality.TEXT,))

    def __init__(self, triton: Triton) -> None:
        self._python = environment_of("langchain") / "bin" / "python"
        self._url = f"http://127.0.0.1:{triton.http}/v2/models/minilm/infer"

    def call(self, batches: Sequence[Batch]) -> Call:
        return Call(
            "langchain_client",
            {"url": self._url},
            [batch.payloads for batch in batches],
            python=self._python,
        )

    def check(self, batch: Batch) -> None:
        """Its client checks each answer."""
