"""From a folder with `preprocessing.json` to the preparer that it describes."""

from __future__ import annotations

import json
from pathlib import Path

from .custom import CustomPreparer
from .pixels import ImagePreparer
from .preparer import Preparer
from .tokens import TextPreparer

PREPROCESSING_FILE = "preprocessing.json"
TOKENIZER_FILE = "tokenizer.json"
CUSTOM_FILE = "prepare.py"


def open_preparer(folder: Path) -> Preparer:
    """Return the preparer of a version folder.

    Raises:
        ValueError: the description names an unknown kind.
    """
    described = json.loads((folder / PREPROCESSING_FILE).read_text("utf-8"))
    kind = described["kind"]
    if kind == "image":
        return ImagePreparer(described["resize"], described["crop"], described["interpolation"])
    if kind == "text":
        return TextPreparer(
            (folder / TOKENIZER_FILE).read_text("utf-8"),
            buckets=described["buckets"],
            pad_id=described["pad_id"],
            prefix=described["prefix"],
        )
    if kind == "custom":
        return CustomPreparer(folder / CUSTOM_FILE, described["inputs"])
    raise ValueError(f"{folder / PREPROCESSING_FILE} has kind {kind!r}; export the model again")
