"""From an ONNX graph to a TensorRT engine: parse, profile, time, build, write."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from embark.errors import EmbArkError
from export.tensorrt.device import current_device
from export.tensorrt.library import TensorRt, load
from export.tensorrt.shapes import Shape


def build(
    graph: Path,
    folder: Path,
    shapes: Sequence[Shape],
    *,
    cache: Path,
    identity: str,
    report: Callable[[str], None],
) -> Path:
    """Return the engine of a graph, built unless it is there.

    The graph's types are the engine's; float32 stays float32 (no TF32).

    Args:
        graph: an ONNX file.
        folder: where the engine is put, made if missing; the file appears whole or not at all.
        shapes: of every input; one optimisation profile.
        cache: folder for timings, which later builds for the same GPU start from.
        identity: digest of what the graph was made from; it names the file.
        report: told what is being done.

    Raises:
        EmbArkError: `tensorrt_unavailable`, there is no TensorRT or no GPU; or `engine_failed`,
            the graph has what TensorRT cannot do. Nothing is written then.
    """
    library = load()
    builder = library.builder()
    device = current_device()
    plan = folder / device.engine_file(identity, library)
    if plan.is_file():
        return plan
    report(f"building the TensorRT engine for {device.name}; this takes minutes")
    network = builder.create_network(_strongly_typed(library))
    _parse(library, network, graph)
    config = builder.create_builder_config()
    config.clear_flag(library.module.BuilderFlag.TF32)
    config.add_optimization_profile(_profile(builder, shapes))
    timings = cache / device.timing_file(library)
    _start_from(library, config, timings)
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise _failed(graph, library.last_words())
    _write(timings, config.get_timing_cache().serialize())
    _write(plan, serialized)
    return plan


def _strongly_typed(library: TensorRt) -> int:
    # TensorRT 11 knows no other networks, 10 has to be asked.
    return 1 << int(library.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def _parse(library: TensorRt, network: Any, graph: Path) -> None:
    parser = library.module.OnnxParser(network, library.logger)
    if parser.parse_from_file(str(graph)):
        return
    errors = [parser.get_error(number) for number in range(parser.num_errors)]
    reasons = [f"{one.node_operator()} {one.node_name()}: {one.desc()}" for one in errors]
    raise _failed(graph, "; ".join(reasons) or library.last_words())


def _profile(builder: Any, shapes: Sequence[Shape]) -> Any:
    profile = builder.create_optimization_profile()
    for shape in shapes:
        profile.set_shape(shape.name, shape.least, shape.usual, shape.most)
    return profile


def _start_from(library: TensorRt, config: Any, timings: Path) -> None:
    known = timings.read_bytes() if timings.is_file() else b""
    # Of a damaged file, no cache or no match is made: start from nothing.
    for content in (known, b""):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):
            return
    raise EmbArkError(
        f"TensorRT takes no timing cache: {library.last_words()}", code="engine_failed"
    )


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # Triton may run as another user.
        Path(unfinished).chmod(0o644)
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise


def _failed(graph: Path, why: str) -> EmbArkError:
    return EmbArkError(
        f"TensorRT cannot build an engine from {graph.name}: {why}. Serve the graph with another"
        " --backend, or change what it says it cannot do",
        code="engine_failed",
    )
