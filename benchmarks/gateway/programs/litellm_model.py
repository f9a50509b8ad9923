"""A Triton Python model for LiteLLM, which asks with a flat `input_text`: it calls `minilm`.

Triton runs a copy of this file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import triton_python_backend_utils as triton  # type: ignore[import-not-found]

_MAX_BATCH = 64


class TritonPythonModel:
    """Called by Triton."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer every request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        texts = triton.get_input_tensor_by_name(request, "input_text").as_numpy().reshape(-1, 1)
        vectors = []
        for start in range(0, len(texts), _MAX_BATCH):
            asked = triton.InferenceRequest(
                model_name="minilm",
                requested_output_names=["EMBEDDING"],
                inputs=[triton.Tensor("TEXT", texts[start : start + _MAX_BATCH])],
            ).exec()
            if asked.has_error():
                return triton.InferenceResponse(error=asked.error())
            vectors.append(triton.get_output_tensor_by_name(asked, "EMBEDDING").as_numpy())
        return triton.InferenceResponse([triton.Tensor("embedding", np.concatenate(vectors))])
