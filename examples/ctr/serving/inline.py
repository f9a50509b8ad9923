"""The same request without EmbArk: both towers run inline, then the head.

What the service is compared with. Each tower runs as ONNX Runtime or OpenVINO serves it in Retina
and as PyTorch, and the faster one counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from embark.errors import ConfigurationError
from examples.ctr.scorer import Scorer
from examples.ctr.tower import TextTower
from examples.ctr.towers import Inline
from export.encoders.base import Encoder
from export.repository import newest_facts
from export.serving.bfloat16 import open_bfloat16
from export.serving.opening import open_preparer

_Floats = npt.NDArray[np.float32]
Embed = Callable[[Sequence[bytes]], _Floats]

COMPILED, PYTORCH = "compiled", "PyTorch"
_TRIAL = 16
_OWN_TEXT_TOWER = "ctr_text"


@dataclass(frozen=True)
class InlineTimes:
    """What a request costs inline.

    Attributes:
        request_ms: median of whole requests.
        requests: how many were made.
        text_way, image_way: which way of running the tower was faster.
        text_ms, image_ms: by way, for one input, in a trial of 16.
    """

    request_ms: float
    requests: int
    text_way: str
    image_way: str
    text_ms: dict[str, float]
    image_ms: dict[str, float]


class InlineTowers:
    """Both towers, each the faster way.

    Args:
        scorer: the head, its catalogue and the names of its models.
        repository: where the models are exported.
    """

    def __init__(self, scorer: Scorer, repository: Path) -> None:
        self._scorer: Final = scorer
        self._catalogue: Final = scorer.catalogue
        count = min(_TRIAL, len(self._catalogue))
        texts = [self._catalogue.text(item).encode() for item in range(count)]
        pictures = [self._catalogue.picture(item) for item in range(count)]
        self._text, self.text_way, self.text_ms = _faster(repository, scorer.text_model, texts)
        self._image, self.image_way, self.image_ms = _faster(
            repository, scorer.image_model, pictures
        )

    def measure(self, requests: Sequence[Sequence[int]]) -> InlineTimes:
        """Score each list of candidates; return the times.

        Pictures are at hand already, as a service would have them in a cache of files.
        """
        taken = []
        for items in requests:
            texts = [self._catalogue.text(item).encode() for item in items]
            pictures = [self._catalogue.picture(item) for item in items]
            began = time.perf_counter()
            self._score(items, self._text(texts), self._image(pictures))
            taken.append((time.perf_counter() - began) * 1000)
        return InlineTimes(
            float(np.median(taken)),
            len(taken),
            self.text_way,
            self.image_way,
            self.text_ms,
            self.image_ms,
        )

    def _score(self, items: Sequence[int], text: _Floats, image: _Floats) -> None:
        known = np.ones(len(items), np.bool_)
        self._scorer.score(0, np.asarray(items, np.int64), text, known, image, known)


def _faster(
    repository: Path, model: str, payloads: Sequence[bytes]
) -> tuple[Embed, str, dict[str, float]]:
    """Return the faster way of running a model, its name, and milliseconds an input by way."""
    encoder: Encoder | None = TextTower() if model == _OWN_TEXT_TOWER else None
    in_pytorch = Inline(repository, model, encoder)
    ways: dict[str, Embed] = {
        COMPILED: _compiled(repository, model),
        PYTORCH: lambda inputs: np.asarray(in_pytorch.embed(inputs).numpy(), np.float32),
    }
    taken = {}
    for name, embed in ways.items():
        embed(payloads[:2])
        began = time.perf_counter()
        embed(payloads)
        taken[name] = (time.perf_counter() - began) * 1000 / len(payloads)
    best = min(taken, key=lambda name: taken[name])
    return ways[best], best, taken


def _compiled(repository: Path, model: str) -> Embed:
    """Return the exported graph, run with all cores, in batches as large as Retina's."""
    facts = newest_facts(repository, model)
    if facts is None:
        raise ConfigurationError(f"{model} is not exported in {repository}")
    preparer = open_preparer(repository / model / str(facts.version))
    graph = repository / f"{model}_encoder" / str(facts.version) / "model.onnx"
    run = open_bfloat16(graph) if facts.precision == "bf16" else _onnx_runtime(graph)

    def embed(payloads: Sequence[bytes]) -> _Floats:
        vectors = np.empty((len(payloads), facts.dimension), np.float32)
        for start in range(0, len(payloads), facts.max_batch_size):
            chunk = payloads[start : start + facts.max_batch_size]
            prepared = [preparer.prepare(one) for one in chunk]
            for positions, tensors in preparer.batches(prepared):
                vectors[np.array(positions) + start] = run(tensors)
        return vectors

    return embed


def _onnx_runtime(graph: Path) -> Callable[[dict[str, Any]], Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return lambda tensors: session.run(["EMBEDDING"], {name: tensors[name] for name in names})[0]
