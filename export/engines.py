"""An encoder's TensorRT engine: built from its graph, kept for the next time, put beside it.

Not for how engines are built: see `export.tensorrt`. An engine fits one kind of GPU; the graph
serves wherever there is none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from embark.errors import EmbArkError
from export.encoders.base import Encoder
from export.triton_config import engine_file

_CACHE = Path(".cache")
_NAME = re.compile(r"model-sm(\d+)(\d)\.plan")


def current_capability() -> str | None:
    """Return the compute capability of this machine's GPU, None without one that PyTorch finds."""
    from export.tensorrt.device import current_device

    try:
        return current_device().capability
    except EmbArkError:
        return None


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


def current_file() -> str:
    """Return the name in a version folder of the engine for this machine's GPU."""
    from export.tensorrt.device import current_device

    return engine_file(current_device().capability)


def has_engine(version: Path, capability: str | None) -> bool:
    """Return whether a version folder has an engine for a compute capability; None is any."""
    found = capabilities(version)
    return bool(found) if capability is None else capability in found


def capabilities(version: Path) -> list[str]:
    """Return the compute capabilities, such as `9.0`, that a version folder has engines for."""
    if not version.is_dir():
        return []
    found = (_NAME.fullmatch(file.name) for file in version.iterdir())
    return sorted(f"{one[1]}.{one[2]}" for one in found if one is not None)
