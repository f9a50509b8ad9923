"""Training on the real platform's vectors is training with the frozen encoder inline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from embark.client import Client
from embark.dataset import Dataset, Format
from embark.dataset.writer import write_dataset
from embark.inputs import text_input
from embark.models import load_catalogue
from embark.torch import CachedEmbedding
from examples.demo.inputs import SENTENCES
from export.reference import Reference
from tests.support.stack import REPOSITORY, Stack

pytestmark = pytest.mark.stack

BATCHES = [list(SENTENCES[start : start + 8]) for start in range(0, len(SENTENCES), 8)] * 12

FEW_ROUNDINGS = 4 * 2.0**-11
"""Vectors are stored as float16, of 11 significant bits."""

Steps = Callable[[], Iterator[tuple[list[str], torch.Tensor]]]


def losses(steps: Steps) -> np.ndarray:
    """Losses of a head that learns how long a sentence is, on vectors from `steps`."""
    torch.manual_seed(0)
    head = torch.nn.Sequential(torch.nn.Linear(384, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
    optimiser = torch.optim.Adam(head.parameters(), lr=1e-2)
    found = []
    for texts, vectors in steps():
        lengths = torch.tensor([[len(text) / 50] for text in texts])
        loss = torch.nn.functional.mse_loss(head(vectors), lengths)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        found.append(loss.item())
    return np.array(found)


def test_the_loss_is_that_of_the_encoder_inline(
    stack: Stack, client: Client, minilm: Reference, tmp_path: Path
) -> None:
    exact = {text: minilm.embed([text.encode()])[0] for text in SENTENCES}

    def inline() -> Iterator[tuple[list[str], torch.Tensor]]:
        for texts in BATCHES:
            yield texts, torch.from_numpy(np.stack([exact[text] for text in texts]))

    expected = losses(inline)
    assert expected[-1] < expected[0] / 4
    embedding = CachedEmbedding(client, "minilm", on_miss="wait")
    served = losses(lambda: embedding.prefetching(BATCHES, inputs=lambda texts: texts))
    dataset = exported(stack, tmp_path / "out")
    mapped = CachedEmbedding(dataset, "minilm", generation=embedding.generation)
    read = losses(lambda: mapped.prefetching(BATCHES, inputs=lambda texts: texts))
    assert mapped.mask.all()
    np.testing.assert_array_equal(read, served)
    np.testing.assert_allclose(served, expected, rtol=FEW_ROUNDINGS)
    vectors, found = dataset.get(SENTENCES)
    assert found.all()
    cosines = (vectors.astype(np.float32) * np.stack(list(exact.values()))).sum(1)
    assert cosines.min() > 0.9999


def exported(stack: Stack, output: Path) -> Dataset:
    model = load_catalogue(REPOSITORY)["minilm"]
    inputs = [text_input(text) for text in SENTENCES]
    with closing(stack.open_backends()) as backends:
        write_dataset(backends, model, output, Format.MEMMAP)
        table = write_dataset(backends, model, output.with_name("table"), Format.PARQUET)
        lines = write_dataset(
            backends, model, output.with_name("lines"), Format.MEMMAP, inputs=inputs
        )
    dataset = Dataset(output)
    assert table.count == len(dataset) >= len(SENTENCES) == lines.count
    return dataset
