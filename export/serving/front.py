"""The front of a model: requests in, one call to the encoder for each shape, responses out.

A front joins the requests that Triton's batcher hands it. An input that cannot be embedded fails
its own request only, as INVALID_ARGUMENT with `code: message`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

from .invalid_input import InvalidInput
from .opening import open_preparer

_INPUTS = {"text": "TEXT", "image": "IMAGE"}


class EncoderFailed(RuntimeError):
    """The encoder did not answer with vectors."""


class Front:
    """A Triton Python model in front of `<name>_encoder`, as `preprocessing.json` says."""

    def initialize(self, args: dict[str, str]) -> None:
        """Called by Triton when the version is loaded."""
        folder = Path(args["model_repository"]) / args["model_version"]
        facts = json.loads((folder / "embark.json").read_text("utf-8"))
        self._generation = facts["generation"].encode()
        self._encoder = f"{facts['name']}_encoder"
        self._version = facts["version"]
        self._dimension = facts["dimension"]
        self._input = _INPUTS[facts["modality"]]
        self._preparer = open_preparer(folder)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer every request, each with vectors or an error of its own."""
        answers: list[Any] = [None] * len(requests)
        prepared: list[Any] = []
        spans: dict[int, slice] = {}
        for index, request in enumerate(requests):
            try:
                rows = self._prepare_request(request)
            except InvalidInput as error:
                answers[index] = _error(f"{error.code}: {error}", triton.TritonError.INVALID_ARG)
            except Exception as error:
                answers[index] = _error(f"preparing failed: {error!r}", triton.TritonError.INTERNAL)
            else:
                spans[index] = slice(len(prepared), len(prepared) + len(rows))
                prepared += rows
        try:
            vectors = self._embed(prepared)
            answers_of_rest = {index: self._answer(vectors[span]) for index, span in spans.items()}
        except Exception as error:
            failure = f"encoding failed: {error}"
            answers_of_rest = {
                index: _error(failure, triton.TritonError.UNAVAILABLE) for index in spans
            }
        for index, answer in answers_of_rest.items():
            answers[index] = answer
        return answers

    def _prepare_request(self, request: Any) -> list[Any]:
        tensor = triton.get_input_tensor_by_name(request, self._input)
        return [self._preparer.prepare(payload) for payload in tensor.as_numpy().reshape(-1)]

    def _embed(self, prepared: list[Any]) -> Any:
        vectors = np.empty((len(prepared), self._dimension), np.float32)
        for positions, tensors in self._preparer.batches(prepared):
            answer = triton.InferenceRequest(
                model_name=self._encoder,
                model_version=self._version,
                requested_output_names=["EMBEDDING"],
                inputs=[triton.Tensor(name, value) for name, value in tensors.items()],
            ).exec()
            if answer.has_error():
                raise EncoderFailed(answer.error().message())
            found = triton.get_output_tensor_by_name(answer, "EMBEDDING").as_numpy()
            vectors[positions] = found
        return vectors

    def _answer(self, vectors: Any) -> Any:
        generations = np.full((len(vectors), 1), self._generation, np.object_)
        return triton.InferenceResponse(
            [triton.Tensor("EMBEDDING", vectors), triton.Tensor("GENERATION", generations)]
        )


def _error(message: str, code: Any) -> Any:
    return triton.InferenceResponse(error=triton.TritonError(message, code))
