"""The inputs that a tuning sends: the user's own, or seeded ones."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path

from embark.errors import BadRequest
from embark.inputs import Modality
from export.encoders.samples import drawings, texts
from export.triton_config import INPUT_TENSOR

_TEXTS, _IMAGES = 64, 16


def load_inputs(name: str, modality: Modality, source: Path | None) -> list[bytes]:
    """Return inputs as the front takes them: UTF-8 texts or encoded images.

    Args:
        name: public model name.
        modality: what the model embeds.
        source: a file with one text a line, or a folder of image files; None for seeded ones.

    Raises:
        BadRequest: the source cannot be read or has no input.
    """
    if source is None:
        return texts(_TEXTS) if modality is Modality.TEXT else drawings(_IMAGES)
    try:
        if modality is Modality.TEXT:
            wanted = "a file with one text a line"
            found = [line for line in source.read_bytes().splitlines() if line.strip()]
        else:
            wanted = "a folder of image files"
            found = [path.read_bytes() for path in sorted(source.iterdir()) if path.is_file()]
    except OSError as error:
        raise BadRequest(
            f"cannot read inputs from {source} ({error.strerror}); {name} needs {wanted}"
        ) from error
    if not found:
        raise BadRequest(f"{source} has no inputs")
    return found


def write_inputs(path: Path, modality: Modality, payloads: list[bytes]) -> None:
    """Write inputs in the form that perf_analyzer's --input-data takes."""
    steps = [
        {INPUT_TENSOR[modality]: {"b64": _element(payload), "shape": [1]}} for payload in payloads
    ]
    path.write_text(json.dumps({"data": steps}), "utf-8")


def _element(payload: bytes) -> str:
    """Return a BYTES element as Triton lays it out: length, little-endian 32 bits, and content."""
    return base64.b64encode(struct.pack("<I", len(payload)) + payload).decode()
