"""Starts the platform, looks real input up twice, and compares every vector with PyTorch's."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from embark.client import Client, Embeddings, Lookup, Sendable
from embark.config import load
from embark.ports import free_port
from examples.demo.inputs import SENTENCES, photographs
from export.reference import Reference
from export.verification import cosines

DATA = Path(".cache") / "demo"
_START_SECONDS = 120
_FILL_SECONDS = 180
_STOP_SECONDS = 60
_MIN_COSINE = 0.9999
_REPEATS = 5

console = Console(highlight=False)


@dataclass(frozen=True)
class Seen:
    """What became of one modality.

    Attributes:
        first, second: the two lookups, and how long each took in milliseconds.
        encoder_ms: what PyTorch takes for the same inputs, one by one.
        cosine, difference: the worst agreement with PyTorch.
    """

    model: str
    first: Lookup
    first_ms: float
    second: Lookup
    second_ms: float
    encoder_ms: float
    cosine: float
    difference: float


def main() -> int:
    """Run the demo; returns 0 if everything was a hit and agrees with PyTorch."""
    shutil.rmtree(DATA, ignore_errors=True)
    repository = load().settings.retina.model_repository
    images = photographs()
    work: dict[str, Sequence[bytes]] = {
        "minilm": [sentence.encode() for sentence in SENTENCES],
        "inception_v3": list(images.values()),
    }
    console.print(f"{len(SENTENCES)} sentences and {len(images)} photographs; starting …")
    with _platform() as url, Client(url) as client:
        console.print(f"the platform answers at {url}")
        seen = [_see(client, model, inputs, repository) for model, inputs in work.items()]
    _show(seen)
    return 0 if all(map(_is_good, seen)) else 1


@contextmanager
def _platform() -> Iterator[str]:
    """Run `embark up` on the demo's own data folder; yields its URL."""
    command = [sys.executable, "-m", "embark", "up", "--json", "--data", str(DATA)]
    command += ["--port", str(free_port())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield _ready_url(process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=_STOP_SECONDS)


def _ready_url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + _START_SECONDS
    lines = []
    for line in process.stdout:
        event = json.loads(line)
        if event.get("event") == "ready":
            return str(event["url"])
        lines.append(event.get("message", line))
        if time.monotonic() > deadline:
            break
    raise SystemExit("the platform did not start:\n" + "\n".join(lines))


def _see(client: Client, model: str, inputs: Sequence[bytes], repository: Path) -> Seen:
    sent: Sequence[Sendable] = (
        [one.decode() for one in inputs] if model == "minilm" else list(inputs)
    )
    first, first_ms = _timed(client, sent, model)
    _wait_until_filled(client, sent, model)
    again = [_timed(client, sent, model) for _ in range(_REPEATS)]
    second, second_ms = min(again, key=lambda one: one[1])
    reference = Reference(repository, model)
    reference.embed(inputs[:1])
    started = time.perf_counter()
    expected = reference.embed(inputs)
    encoder_ms = (time.perf_counter() - started) * 1000
    found: Embeddings = second.embeddings
    # A vector that was never computed has no direction: its cosine is NaN, and the demo fails.
    with np.errstate(invalid="ignore"):
        cosine = float(cosines(found, expected).min())
    difference = float(np.abs(found - expected).max())
    return Seen(model, first, first_ms, second, second_ms, encoder_ms, cosine, difference)


def _timed(client: Client, sent: Sequence[Sendable], model: str) -> tuple[Lookup, float]:
    started = time.perf_counter()
    found = client.lookup(sent, model)
    return found, (time.perf_counter() - started) * 1000


def _wait_until_filled(client: Client, sent: Sequence[Sendable], model: str) -> None:
    columns = (
        TextColumn(f"archive fills: {model:12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    deadline = time.monotonic() + _FILL_SECONDS
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(model, total=len(sent))
        while time.monotonic() < deadline:
            found = client.lookup(sent, model, on_miss="skip")
            progress.update(task, completed=int(found.hits.sum()))
            if found.hits.all():
                return
            time.sleep(0.05)


def _show(seen: Sequence[Seen]) -> None:
    table = Table(title="looked up twice", title_justify="left", box=None, padding=(0, 1))
    for column in ("model", "inputs", "oov", "1st ms", "hits", "2nd ms", "torch ms", "ratio",
                   "cosine", "max diff"):  # fmt: skip
        table.add_column(column, justify="left" if column == "model" else "right")
    for one in seen:
        table.add_row(
            one.model,
            str(len(one.second)),
            str(Counter(item.status for item in one.first.items)["oov"]),
            f"{one.first_ms:.1f}",
            str(int(one.second.hits.sum())),
            f"{one.second_ms:.1f}",
            f"{one.encoder_ms:.0f}",
            f"{one.encoder_ms / one.second_ms:.0f}x",
            f"{one.cosine:.6f}",
            f"{one.difference:.1e}",
        )
    console.print(table)
    console.print(
        "Each lookup is one request with all inputs of its row; `torch ms` is the encoder itself,"
        " and `ratio` is to the 2nd lookup. Cosine and difference are the worst against PyTorch."
    )
    for one in seen:
        if not _is_good(one):
            console.print(f"{one.model}: NOT every input became a hit that agrees with PyTorch")


def _is_good(one: Seen) -> bool:
    first_seen = all(item.status == "oov" for item in one.first.items)
    return first_seen and bool(one.second.hits.all()) and one.cosine >= _MIN_COSINE


if __name__ == "__main__":
    sys.exit(main())
