"""An encoder's TensorRT engine: built from its graph, kept for the next time, put beside it.

Not for how engines are built: see `export.tensorrt`. An engine fits one kind of GPU; the graph
serves wherever there is none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from export.encoders.base import Encoder
from export.triton_config import engine_file

_CACHE = Path(".cache")
_NAME = re.compile(r"model-sm(\d+)(\d)\.plan")


def check_buildable() -> None:
    """Return if this machine can build engines.

    Raises:
        EmbArkError: `tensorrt_unavailable`; TensorRT or a GPU is missing.
    """
    from export.tensorrt.device import current_device
    from export.tensorrt.library import load

    load().builder()
    current_device()


def build_engine(encoder: Encoder, graph: Path, report: Callable[[str], None]) -> Path:
    """Return the engine of a graph, from the cache or built now.

    Raises:
        EmbArkError: see `export.tensorrt.build`.
    """
    from export.tensorrt import build, shapes_of

    return build(
        graph,
        _CACHE / "engines",
        shapes_of(encoder),
        cache=_CACHE / "timings",
        identity=hashlib.blake2b(graph.read_bytes(), digest_size=8).hexdigest(),
        report=report,
    )


def place(folder: Path) -> Path:
    """Return where the engine for this machine's GPU belongs in a version folder."""
    from export.tensorrt.device import current_device

    return folder / engine_file(current_device().capability)


def capabilities(version: Path) -> list[str]:
    """Return the compute capabilities, such as `9.0`, that a version folder has engines for."""
    if not version.is_dir():
        return []
    found = (_NAME.fullmatch(file.name) for file in version.iterdir())
    return sorted(f"{one[1]}.{one[2]}" for one in found if one is not None)
