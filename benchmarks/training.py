"""What archived vectors save a training run: a head on `minilm`, three ways, with one loss curve.

`python -m benchmarks.training`: a small classifier learns which package a docstring's beginning is
from. Its vectors come (inline) from the frozen encoder in PyTorch, each step anew; (service) from
`embark up` with nothing in the archive at first, waited for; (dataset) from what `embark archive
export` writes. Same seeds and batches; the order of the ways alternates, and each round has a
platform and an archive of its own. Prints tables and writes JSON. Figures of one run compare with
each other, not with those of another machine.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import itertools
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from embark.client import Client
from embark.dataset import Dataset, Format
from embark.dataset.writer import write_dataset
from embark.models import load_catalogue
from embark.torch import CachedEmbedding
from export import graph
from export.encoders import find
from export.encoders.base import Weights
from export.exporting import WEIGHTS_FILE
from tests.support.stack import REPOSITORY, Stack, running

MODEL = "minilm"
PACKAGES = ("networkx", "numpy", "scipy", "skimage", "sklearn")
BATCH = 64
HIDDEN = 128
SHORTEST, LONGEST = 30, 200
WAIT_SECONDS = 120.0

console = Console(highlight=False, width=100)

Sample = tuple[str, int]
Step = tuple[Sequence[str], torch.Tensor, torch.Tensor]
"""Texts, labels, and vectors of shape (texts, dimension)."""


@dataclass
class Run:
    """One training run.

    Attributes:
        way: where its vectors came from.
        epochs_s: how long each epoch took, in seconds.
        losses: of each step.
        accuracy: on the texts it was trained on, in the last epoch.
    """

    way: str
    epochs_s: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    accuracy: float = 0.0


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path(".cache/training.json"))
    options = parser.parse_args()
    samples = sentences(options.sentences)
    runs: list[Run] = []
    exports_s: list[float] = []
    for number in range(options.rounds):
        inline_first = number % 2 == 0
        if inline_first:
            runs.append(inline(samples, options.epochs))
        with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as stack:
            runs.append(over_service(samples, options.epochs, stack))
            output = Path(folder) / "dataset"
            exports_s.append(export_dataset(stack, output))
            runs.append(over_dataset(samples, options.epochs, output))
        if not inline_first:
            runs.append(inline(samples, options.epochs))
        console.print(f"round {number + 1} of {options.rounds} is done")
    report(runs, exports_s, len(samples))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    measured = {"sentences": len(samples), "exports_s": exports_s}
    measured["runs"] = [asdict(run) for run in runs]
    options.output.write_text(json.dumps(measured, indent=2) + "\n")


def sentences(count: int) -> list[Sample]:
    """Return beginnings of docstrings with the number of their package; always the same."""
    rng = random.Random(0)
    each = count // len(PACKAGES)
    found: list[Sample] = []
    for label, package in enumerate(PACKAGES):
        texts = dict.fromkeys(itertools.islice(_docstrings(package, rng), 2 * each))
        found += [(text, label) for text in list(texts)[:each]]
    rng.shuffle(found)
    return found


def _docstrings(package: str, rng: random.Random) -> Iterator[str]:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    paths = sorted(Path(spec.origin).parent.rglob("*.py"))
    for path in rng.sample(paths, len(paths)):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                text = " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())
                if SHORTEST <= len(text) <= LONGEST:
                    yield text


def inline(samples: list[Sample], epochs: int) -> Run:
    """Train with the encoder in each step."""
    from safetensors.torch import load_file

    encoder, facts = find(MODEL), load_catalogue(REPOSITORY)[MODEL].facts
    state = load_file(REPOSITORY / f"{MODEL}_encoder" / str(facts.version) / WEIGHTS_FILE)
    module = graph.load_module(encoder, Weights(state, facts.weights))

    def steps(loader: DataLoader[Sample]) -> Iterator[Step]:
        for texts, labels in loader:
            tensors = graph.tensors_of(encoder, [text.encode() for text in texts])
            with torch.no_grad():
                vectors = module(*tensors)
            yield texts, labels, vectors

    return train("inline", samples, epochs, steps)


def over_service(samples: list[Sample], epochs: int, stack: Stack) -> Run:
    """Train on what the service answers; it has nothing at first."""
    with Client(stack.url) as client:
        embedding = CachedEmbedding(client, MODEL, on_miss="wait", wait_s=WAIT_SECONDS)
        return train("service", samples, epochs, _prefetching(embedding))


def over_dataset(samples: list[Sample], epochs: int, folder: Path) -> Run:
    """Train on an exported dataset."""
    return train("dataset", samples, epochs, _prefetching(CachedEmbedding(Dataset(folder), MODEL)))


def _prefetching(embedding: CachedEmbedding) -> Callable[[DataLoader[Sample]], Iterator[Step]]:
    def steps(loader: DataLoader[Sample]) -> Iterator[Step]:
        batches = embedding.prefetching(loader, inputs=lambda batch: batch[0], depth=4)
        for (texts, labels), vectors in batches:
            assert embedding.mask.all()
            yield texts, labels, vectors

    return steps


def export_dataset(stack: Stack, output: Path) -> float:
    """Export what the service has; returns how long it took, in seconds."""
    started = time.monotonic()
    with closing(stack.open_backends()) as backends:
        model = load_catalogue(REPOSITORY)[MODEL]
        write_dataset(backends, model, output, Format.MEMMAP)
    return time.monotonic() - started


def train(
    way: str,
    samples: list[Sample],
    epochs: int,
    steps: Callable[[DataLoader[Sample]], Iterator[Step]],
) -> Run:
    """Train a head: the same one on the same batches, whatever gives the vectors."""
    torch.manual_seed(0)
    dimension = load_catalogue(REPOSITORY)[MODEL].facts.dimension
    head = torch.nn.Sequential(
        torch.nn.Linear(dimension, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, len(PACKAGES))
    )
    optimiser = torch.optim.Adam(head.parameters(), lr=3e-3)
    run = Run(way)
    for epoch in range(epochs):
        order = torch.Generator().manual_seed(epoch)
        loader: DataLoader[Sample] = DataLoader(
            samples,  # type: ignore[arg-type]
            batch_size=BATCH,
            shuffle=True,
            generator=order,
        )
        started, right = time.monotonic(), 0
        for _, labels, vectors in steps(loader):
            logits = head(vectors)
            loss = torch.nn.functional.cross_entropy(logits, labels)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            run.losses.append(loss.item())
            right += int((logits.argmax(1) == labels).sum())
        run.epochs_s.append(time.monotonic() - started)
        run.accuracy = right / len(samples)
    return run


def report(runs: list[Run], exports_s: list[float], count: int) -> None:
    """Print what was measured."""
    table = Table(title=f"{count} sentences an epoch, sentences/s", box=None, title_justify="left")
    for name in ("vectors from", "first epoch", "later epochs", "last loss", "accuracy"):
        table.add_column(name)
    for way in ("inline", "service", "dataset"):
        of_way = [run for run in runs if run.way == way]
        first = [count / run.epochs_s[0] for run in of_way]
        later = [count / seconds for run in of_way for seconds in run.epochs_s[1:]]
        last = of_way[-1]
        table.add_row(
            way, _spread(first), _spread(later), f"{last.losses[-1]:.4f}", f"{last.accuracy:.3f}"
        )
    console.print(table)
    console.print(f"export: {_spread([count / seconds for seconds in exports_s])} vectors/s")
    reference = np.array(next(run.losses for run in runs if run.way == "inline"))
    for way in ("inline", "service", "dataset"):
        losses = np.array([run.losses for run in runs if run.way == way])
        console.print(
            f"{way}: losses differ from the first inline run's by at most"
            f" {np.abs(losses - reference).max():.2e}"
        )


def _spread(figures: list[float]) -> str:
    if not figures:
        return ""
    return f"{statistics.median(figures):,.0f} ({min(figures):,.0f} to {max(figures):,.0f})"


if __name__ == "__main__":
    main()
