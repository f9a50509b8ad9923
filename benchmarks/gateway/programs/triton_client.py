"""A client of Triton's gRPC, NVIDIA's own: a batch in one request or in several at once."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput

from benchmarks.gateway.programs.timing import Send, serve

_TIMEOUT_SECONDS = 120
_OUTPUTS = [InferRequestedOutput("EMBEDDING")]


class _Sender:
    def __init__(self, url: str, model: str) -> None:
        self._client = InferenceServerClient(url)
        self._model = model

    def __call__(self, request: list[InferInput]) -> None:
        if len(request) == 1:
            self._client.infer(
                self._model, request, outputs=_OUTPUTS, client_timeout=_TIMEOUT_SECONDS
            )
            return
        errors: list[object] = []
        missing = threading.Semaphore(0)

        def answered(result: object, error: object) -> None:
            if error is not None:
                errors.append(error)
            missing.release()

        for one in request:
            self._client.async_infer(
                self._model, [one], answered, outputs=_OUTPUTS, client_timeout=_TIMEOUT_SECONDS
            )
        for _ in request:
            if not missing.acquire(timeout=_TIMEOUT_SECONDS):
                raise TimeoutError("Triton did not answer")
        if errors:
            raise RuntimeError(str(errors[0]))

    def close(self) -> None:
        self._client.close()


def _connect(command: dict[str, Any], batches: list[Any]) -> tuple[Send, list[Any]]:
    def tensor(payloads: list[bytes]) -> InferInput:
        made = InferInput(command["tensor"], [len(payloads), 1], "BYTES")
        made.set_data_from_numpy(np.array(payloads, dtype=np.object_).reshape(-1, 1))
        return made

    requests = [[tensor(part) for part in batch] for batch in batches]
    return _Sender(command["url"], command["model"]), requests


if __name__ == "__main__":
    serve(_connect)
