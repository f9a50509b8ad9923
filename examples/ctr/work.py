"""Where the example keeps what it makes: the layout of the work folder. Imports nothing heavy."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

DEFAULT = Path(".cache") / "ctr"


@dataclass(frozen=True)
class Work:
    """The files of a work folder.

    Attributes:
        folder: holds them all.
    """

    folder: Path

    @property
    def models(self) -> Path:
        """Model repository: `ctr_text`, and links to the shipped encoders that are used."""
        return self.folder / "models"

    @property
    def data(self) -> Path:
        """What `embark up --data` is given: archive, queue, logs."""
        return self.folder / "data"

    @property
    def head(self) -> Path:
        """State of the trained head."""
        return self.folder / "head.pt"

    @property
    def scorer(self) -> Path:
        """What `Scorer.load` needs beside the head, JSON; written last, so it says all is there."""
        return self.folder / "scorer.json"

    @property
    def tower(self) -> Path:
        """Weights of the text tower."""
        return self.folder / "tower.safetensors"

    @property
    def vectors(self) -> Path:
        """Archived vectors of the items: `text` and `image`, float16 (items, dimension)."""
        return self.folder / "vectors.npz"

    @property
    def heldout(self) -> Path:
        """Predictions and truth of the held-out cells; see README.md for its columns."""
        return self.folder / "heldout.npz"

    @property
    def heldout_reduced(self) -> Path:
        """The same of the comparison on some of the items."""
        return self.folder / "heldout-reduced.npz"

    @property
    def report(self) -> Path:
        """Every figure, JSON."""
        return self.folder / "report.json"

    def oov(self, model: str) -> Path:
        """Return where the learned out-of-vocabulary vector of a model is."""
        return self.folder / f"oov-{model}.npy"

    def plot(self, name: str) -> Path:
        """Return where a plot is."""
        return self.folder / f"{name}.png"


def add_work(parser: argparse.ArgumentParser) -> None:
    """Declare `--work`."""
    parser.add_argument(
        "--work", type=Path, default=DEFAULT, help=f"folder of what is made (default: {DEFAULT})"
    )
