"""EmbArk: a gateway with vectors in memory, or with none, and the forms in which it is asked."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.gateway.peers.base import HttpSubject
from benchmarks.gateway.place import Place, answers
from benchmarks.gateway.workload import REPOSITORY, Batch
from embark.binary import KEYS_TYPE, VECTORS_TYPE, Status
from embark.inputs import Modality
from embark.metrics import SHARED_FOLDER
from embark.models import Model
from embark.ports import free_port


class EmbArkKeys(HttpSubject):
    """Binary: 16-byte digests in, stored vectors out."""

    def path(self, batch: Batch) -> str:
        return keys_path(batch.model)

    def body(self, batch: Batch) -> bytes:
        return b"".join(batch.digests)

    def headers(self) -> Mapping[str, str]:
        return KEYS_HEADERS

    def vectors(self, answer: bytes, batch: Batch) -> int:
        return hits(answer, batch.model)


class EmbArkJson(HttpSubject):
    """JSON: inputs in, vectors out in base64."""

    on_miss = "oov"

    def path(self, batch: Batch) -> str:
        return "/v1/lookup"

    def body(self, batch: Batch) -> bytes:
        fields = {"model": batch.model.name, "encoding": "base64", "on_miss": self.on_miss}
        return json.dumps({**fields, "items": _items(batch)}).encode()

    def vectors(self, answer: bytes, batch: Batch) -> int:
        return sum(item["status"] == "hit" for item in json.loads(answer)["items"])


class EmbArkInputs(EmbArkJson):
    """JSON inputs in, the binary answer out."""

    def headers(self) -> Mapping[str, str]:
        return {**super().headers(), "Accept": VECTORS_TYPE}

    def vectors(self, answer: bytes, batch: Batch) -> int:
        return hits(answer, batch.model)


KEYS_HEADERS = {"Content-Type": KEYS_TYPE, "Accept": VECTORS_TYPE}
"""Of a lookup of keys in binary."""


def keys_path(model: Model) -> str:
    """Return where keys of a model are looked up."""
    return f"/v1/lookup?model={model.name}&generation={model.generation}"


def hits(answer: bytes, model: Model) -> int:
    """Return how many hits a binary answer has."""
    row = model.facts.dimension * model.oov.dtype.itemsize
    count, rest = divmod(len(answer), row + 1)
    if rest:
        raise ValueError(f"{len(answer)} bytes are no whole vectors of {row} and their statuses")
    return answer[count * row :].count(Status.HIT)


def start_gateway(
    place: Place, name: str, data: Path, settings: Mapping[str, str] | None = None
) -> int:
    """Start a gateway on an archive, and return its port.

    Args:
        place: where.
        name: of its log.
        data: folder of archive and queue.
        settings: more of them, as environment variables without `EMBARK_`.

    Raises:
        Stopped: it does not start.
    """
    port = free_port()
    metrics = place.folder / f"metrics-{name}"
    metrics.mkdir()
    given = {
        "DATA": str(data),
        "GATEWAY__PORT": str(port),
        "RETINA__MODEL_REPOSITORY": str(REPOSITORY.absolute()),
        # An index of neighbours would be built meanwhile.
        "ARCHIVE__NEIGHBOURS__MODELS": "",
        # Clients that ask without a pause are an overload, which would be refused.
        "GATEWAY__OBJECTIVE_MS": "60000",
        "LOG__LEVEL": "warning",
        **(settings or {}),
    }
    environment = {f"EMBARK_{key}": one for key, one in given.items()}
    place.serve(
        name,
        [sys.executable, "-m", "gateway"],
        answers(f"http://127.0.0.1:{port}/v2/health/ready"),
        {**environment, SHARED_FOLDER: str(metrics)},
    )
    return port


NO_L1 = {"GATEWAY__L1__MAX_BYTES": "0", "GATEWAY__ARCHIVE_TIMEOUT_MS": "30000"}
"""Settings of a gateway that holds no vectors: every lookup goes to the archive and waits."""


def _items(batch: Batch) -> list[dict[str, str]]:
    if batch.modality is Modality.TEXT:
        return [{"text": payload.decode()} for payload in batch.payloads]
    return [{"image": base64.b64encode(payload).decode()} for payload in batch.payloads]
