"""Running an engine, to verify and to measure it. Serving is Triton's work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embark.errors import EmbArkError
from export.tensorrt.library import load

OUTPUT = "EMBEDDING"


class Engine:
    """An engine in the GPU's memory.

    Args:
        plan: what `build` returned.

    Raises:
        EmbArkError: `tensorrt_unavailable`, or `engine_failed`: the file is not an engine for this
            TensorRT and GPU.
    """

    def __init__(self, plan: Path) -> None:
        import torch

        self._library = load()
        # The runtime must live as long as what it made.
        self._runtime = self._library.runtime()
        self._engine = self._runtime.deserialize_cuda_engine(plan.read_bytes())
        if self._engine is None:
            raise EmbArkError(
                f"{plan.name} is not an engine for TensorRT {self._library.version} and this GPU"
                f" ({self._library.last_words()}); delete it and export again",
                code="engine_failed",
            )
        self._context = self._engine.create_execution_context()
        # On the default stream TensorRT would synchronise more than needed.
        self._stream: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def run(self, tensors: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Return EMBEDDING, float32 (n, d), for the tensors of a batch of n.

        Raises:
            EmbArkError: `engine_failed`; a shape is outside the profile, or the GPU failed.
        """
        import torch

        with torch.cuda.stream(self._stream):
            # Kept until the end: the engine reads them while this function goes on.
            given = [self._bind(name, tensors[name]) for name in self._inputs()]
            shape = tuple(self._context.get_tensor_shape(OUTPUT))
            found = torch.empty(shape, dtype=torch.float32, device="cuda")
            self._context.set_tensor_address(OUTPUT, found.data_ptr())
            if not self._context.execute_async_v3(self._stream.cuda_stream):
                raise self._failed("the engine did not run")
            vectors = found.cpu()
        self._stream.synchronize()
        del given
        return vectors.numpy()

    def _inputs(self) -> list[str]:
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        return [name for name in names if name != OUTPUT]

    def _bind(self, name: str, array: npt.NDArray[Any]) -> Any:
        import torch

        wanted = self._library.module.nptype(self._engine.get_tensor_dtype(name))
        tensor = torch.from_numpy(np.ascontiguousarray(array, wanted)).cuda()
        if not self._context.set_input_shape(name, tuple(tensor.shape)):
            raise self._failed(f"{name} cannot have shape {tuple(tensor.shape)}")
        self._context.set_tensor_address(name, tensor.data_ptr())
        return tensor

    def _failed(self, what: str) -> EmbArkError:
        return EmbArkError(f"{what}: {self._library.last_words()}", code="engine_failed")
