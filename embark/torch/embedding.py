"""`CachedEmbedding`: a module of archived vectors, with a learnable one for what is missing.

Not an encoder: it has no weights but the out-of-vocabulary vector.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch

from embark.client import Client, Sendable
from embark.dataset import Dataset
from embark.errors import BadRequest, ConfigurationError
from embark.torch.ahead import ahead
from embark.torch.sources import DatasetSource, ServiceSource, Source, Vectors

Batch = TypeVar("Batch")

_GIB = 2**30


class CachedEmbedding(torch.nn.Module):
    """Archived vectors of one generation of a model.

    A row is the archived vector of its input, or, where there is none, the parameter `oov`: then
    `mask` is False for it, and only such rows have a gradient, which goes to `oov`. All vectors of
    a run are of one generation: if another becomes live meanwhile, the next lookup raises.

    Vectors that the service gave are kept in this process, so that the next epoch asks only for
    what is missing still. `state_dict()` holds `oov` and nothing else; moving the module to a
    device moves `oov`, and vectors follow it. Use it in the main process: over the service it has
    connections, which neither forked nor spawned workers of a DataLoader may use. Let those give
    inputs, and let `prefetching` fetch the vectors.

    Args:
        source: a connection to the service, or a dataset that `embark archive export` wrote.
        model: public model name.
        generation: the only one that is accepted; None for the one that is live, or the dataset's.
        on_miss: `oov` takes the placeholder, and has the service compute the vector for a later
            epoch; `wait` waits until the service has it. An input that can never be embedded is a
            placeholder either way. A dataset has no `wait`.
        wait_s: for `wait`, the longest wait for the vectors of one batch, in seconds.
        learn_oov: whether `oov` is trained; else it stays the model's.
        cache_bytes: bound of the memory for vectors that the service gave.

    Attributes:
        oov: float32, shape (dimension,); at first the model's out-of-vocabulary vector.
        generation: of every vector.
        mask: which rows of the last batch are vectors of their inputs; bool, shape (inputs,).
        statuses: of each row of the last batch: `hit`, `oov`, `failed` or `invalid`.

    Raises:
        ConfigurationError: the source is of another model or generation, or cannot wait.
        ServiceError: the service cannot be reached, or has no such model.
    """

    def __init__(
        self,
        source: Client | Dataset,
        model: str,
        *,
        generation: str | None = None,
        on_miss: Literal["oov", "wait"] = "oov",
        wait_s: float = 60.0,
        learn_oov: bool = True,
        cache_bytes: int = _GIB,
    ) -> None:
        super().__init__()
        if on_miss not in ("oov", "wait"):
            raise BadRequest(f"on_miss is {on_miss!r}; it can be oov or wait")
        self._source = _open(
            source,
            model,
            generation=generation,
            wait_s=wait_s if on_miss == "wait" else None,
            cache_bytes=cache_bytes,
        )
        self.oov = torch.nn.Parameter(
            torch.tensor(self._source.oov, dtype=torch.float32), requires_grad=learn_oov
        )
        self.mask = torch.zeros(0, dtype=torch.bool)
        self.statuses: list[str] = []

    @property
    def generation(self) -> str:
        """The generation of every vector."""
        return self._source.generation

    @property
    def dimension(self) -> int:
        """The length of a vector."""
        return len(self.oov)

    def forward(self, inputs: Sequence[Sendable]) -> torch.Tensor:
        """Return the vectors of a batch: float32, shape (inputs, dimension), on `oov`'s device.

        Args:
            inputs: texts, images, image files, URLs or keys; the same may come several times.

        Raises:
            BadRequest: an image file cannot be read.
            ConfigurationError: another generation became live, or this is a worker process.
            ServiceError: the service refused the request or cannot be reached.
            Unavailable: vectors that were waited for did not come in time.
        """
        return self._given(self._source.fetch(inputs, threading.Event()))

    def prefetching(
        self,
        batches: Iterable[Batch],
        *,
        inputs: Callable[[Batch], Sequence[Sendable]],
        depth: int = 2,
    ) -> Generator[tuple[Batch, torch.Tensor], None, None]:
        """Iterate over batches, each with its vectors, while those of the next are fetched.

        In the order of `batches`, which is iterated in the caller's thread. A batch's vectors are
        put together when it is taken, so that `oov` is as the last step left it; `mask` and
        `statuses` are then of this batch. What a fetch raises is raised in its batch's place. The
        threads end when the iterator is exhausted, closed or dropped.

        Args:
            batches: such as a DataLoader.
            inputs: returns the inputs of a batch.
            depth: how many batches to fetch beforehand, at least 1.

        Raises:
            BadRequest: `depth` is below 1.
        """

        def fetch(wanted: tuple[Batch, Sequence[Sendable]], stop: threading.Event) -> Vectors:
            return source.fetch(wanted[1], stop)

        # Not `self`: a thread that holds the module would keep a dropped iterator alive.
        source = self._source
        wanted = ((batch, inputs(batch)) for batch in batches)
        return self._all_given(ahead(wanted, fetch, depth))

    def save_oov(self, path: Path) -> None:
        """Write `oov` as a .npy file, float32 of shape (dimension,), whole or not at all.

        `embark models oov MODEL FILE` makes it the vector that lookups are answered with.

        Raises:
            ConfigurationError: it cannot be written.
        """
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with unfinished.open("wb") as file:
                np.save(file, self.oov.detach().float().cpu().numpy())
            unfinished.replace(path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise ConfigurationError(f"{path} cannot be written: {error}") from error

    def extra_repr(self) -> str:
        """Say what it gives."""
        return f"dimension={self.dimension}, generation={self.generation}"

    def _all_given(
        self, fetched: Generator[tuple[tuple[Batch, Sequence[Sendable]], Vectors], None, None]
    ) -> Generator[tuple[Batch, torch.Tensor], None, None]:
        with closing(fetched):
            for (batch, _), vectors in fetched:
                yield batch, self._given(vectors)

    def _given(self, fetched: Vectors) -> torch.Tensor:
        device = self.oov.device
        self.statuses = fetched.statuses
        self.mask = torch.from_numpy(fetched.hits).to(device)
        vectors = torch.from_numpy(fetched.vectors).to(device)
        # Also where all are hits: distributed training wants each parameter in each step.
        return torch.where(self.mask.unsqueeze(1), vectors, self.oov.float())


def _open(
    source: Client | Dataset,
    model: str,
    *,
    generation: str | None,
    wait_s: float | None,
    cache_bytes: int,
) -> Source:
    if isinstance(source, Client):
        return ServiceSource(
            source, model, generation=generation, wait_s=wait_s, cache_bytes=cache_bytes
        )
    if wait_s is not None:
        raise ConfigurationError(
            "a dataset cannot wait for what it lacks: use on_miss='oov', or the service"
        )
    return DatasetSource(source, model, generation)
