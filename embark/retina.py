"""The client of Retina: asks Triton over gRPC for the vectors of a batch of inputs.

Tensors are those that `export.triton_config` declares: TEXT or IMAGE in, EMBEDDING and GENERATION
out. Not for retrying: the consumer decides what becomes of a failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from embark import tracing
from embark.errors import PermanentFailure, RetinaUnavailable, TemporaryFailure
from embark.inputs import Modality
from embark.metrics import INFERENCE, INFERENCE_BATCH
from embark.models import Model
from embark.queue.base import Lane

INPUT_TENSOR = {Modality.TEXT: "TEXT", Modality.IMAGE: "IMAGE"}
_OUTPUTS = ("EMBEDDING", "GENERATION")
_PRIORITY = {Lane.INTERACTIVE: 1, Lane.BULK: 2}
_PROBE_SECONDS = 2.0
# Of a request's time, what it may spend in Triton's queue. What waited longer is sent back as it
# is, so that it counts against nobody's input; a call that ends for want of time does.
_QUEUE_SHARE = 0.8

NOT_LOADED = "not_loaded"
"""Code of the error when Triton serves, but not this version; it may be loading it."""


class Retina:
    """A connection to Triton, safe for many threads.

    Args:
        url: host:port of the gRPC endpoint.
        timeout_s: longest that one inference request may take, Triton's queue included.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        # After an outage, the next call must not wait out gRPC's default back-off of up to 2 min.
        options = [
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ]
        self._client = InferenceServerClient(url, channel_args=options)

    def ready(self) -> bool:
        """Whether Triton answers, with every model loaded."""
        try:
            return bool(self._client.is_server_ready(client_timeout=_PROBE_SECONDS))
        except InferenceServerException:
            return False

    def serves(self, model: Model) -> bool:
        """Whether Triton answers, with this generation loaded."""
        version = str(model.facts.version)
        try:
            return bool(
                self._client.is_model_ready(model.name, version, client_timeout=_PROBE_SECONDS)
            )
        except InferenceServerException:
            return False

    def embed(self, model: Model, payloads: Sequence[bytes], lane: Lane) -> npt.NDArray[np.float32]:
        """Return the vectors of a batch, shape (len(payloads), dimension), float32.

        Args:
            model: which generation is asked.
            payloads: UTF-8 texts or encoded images, 1 to `max_batch_size`.
            lane: interactive batches pass bulk ones in Triton's queue.

        Raises:
            PermanentFailure: Triton refuses an input of the batch for what it is.
            TemporaryFailure: the request was lost, ran out of time or failed inside Triton.
            RetinaUnavailable: Triton is there and did no work: its queue is full, the request
                waited there for too long, or it does not serve this generation.
        """
        outcome = "unavailable"
        with INFERENCE.time() as timer:  # the labels are known when the call has ended
            try:
                vectors = self._infer(model, payloads, lane)
                outcome = "ok"
            except PermanentFailure:
                outcome = "rejected"
                raise
            finally:
                timer.labels(model=model.name, outcome=outcome)
        INFERENCE_BATCH.labels(model=model.name).observe(len(payloads))
        return vectors

    def close(self) -> None:
        """Close the connection; idempotent."""
        self._client.close()

    def _infer(
        self, model: Model, payloads: Sequence[bytes], lane: Lane
    ) -> npt.NDArray[np.float32]:
        tensor = InferInput(INPUT_TENSOR[model.facts.modality], [len(payloads), 1], "BYTES")
        tensor.set_data_from_numpy(np.array(payloads, dtype=np.object_).reshape(-1, 1))
        trace = tracing.current()
        try:
            answer = self._client.infer(
                model.name,
                [tensor],
                model_version=str(model.facts.version),
                outputs=[InferRequestedOutput(name) for name in _OUTPUTS],
                priority=_PRIORITY[lane],
                timeout=int(_QUEUE_SHARE * self._timeout_s * 1e6),
                client_timeout=self._timeout_s,
                headers={tracing.HEADER: trace} if trace else None,
            )
        except InferenceServerException as error:
            raise self._failure(error) from error
        return _checked(model, len(payloads), answer)

    def _failure(self, error: InferenceServerException) -> Exception:
        status, message = str(error.status()), str(error.message())
        if status == str(grpc.StatusCode.INVALID_ARGUMENT):
            # Only the fronts' own `code: message` is a verdict on the input.
            code, _, reason = message.partition(": ")
            if code.isidentifier() and reason:
                return PermanentFailure(reason, code=code)
        if status == str(grpc.StatusCode.DEADLINE_EXCEEDED):
            return TemporaryFailure("inference ran out of time", code="inference_timeout")
        if message.startswith("Request for unknown model"):
            return RetinaUnavailable(f"Retina has not loaded it: {message}", code=NOT_LOADED)
        # An input that kills Triton must be counted against that input; a full queue must not.
        if status == str(grpc.StatusCode.UNAVAILABLE) and self.ready():
            return RetinaUnavailable(f"Retina is busy: {message}", code="retina_busy")
        return TemporaryFailure(f"inference failed: {message}", code="inference_failed")


def _checked(model: Model, count: int, answer: Any) -> npt.NDArray[np.float32]:
    vectors, generations = (answer.as_numpy(name) for name in _OUTPUTS)
    expected = (count, model.facts.dimension)
    if vectors.shape != expected:
        raise RetinaUnavailable(
            f"{model.name} returned shape {vectors.shape}, expected {expected}; export it again"
        )
    found = {bytes(name).decode() for name in generations.ravel()}
    if found != {model.generation}:
        raise RetinaUnavailable(
            f"{model.name} returned generation {sorted(found)}, expected {model.generation}",
            code="wrong_generation",
        )
    return np.asarray(vectors, np.float32)
