"""An ONNX file as a PyTorch module: the reference that its wrapped form is compared with.

Imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from export.encoders.pooling import Normalise, Pooling

if TYPE_CHECKING:
    from export.sources.onnx_file import OnnxFile


class OnnxModule(nn.Module):
    """Runs the file as it was given, then pools and normalises in PyTorch.

    Its state is the file, so that an exported version can be computed again without it.
    """

    file: Tensor

    def __init__(self, encoder: OnnxFile) -> None:
        super().__init__()
        content = encoder.model.SerializeToString()
        self.register_buffer("file", torch.frombuffer(bytearray(content), dtype=torch.uint8))
        self._ports = encoder.ports
        self._output = encoder.output.name
        self._channels_last = not encoder.is_text and encoder.channels_last
        pooling = encoder.options.pooling if encoder.is_text else None
        self.pooling = None if pooling in (None, "none") else Pooling((str(pooling),))
        self.normalise = Normalise() if encoder.options.normalise else None
        self._is_text = encoder.is_text
        self._session: onnxruntime.InferenceSession | None = None

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return vectors for INPUT_IDS and ATTENTION_MASK, or for normalised images or PIXELS."""
        if self._session is None:
            content = self.file.numpy().tobytes()
            self._session = onnxruntime.InferenceSession(
                content, providers=["CPUExecutionProvider"]
            )
        given = self._texts(*tensors) if self._is_text else self._images(*tensors)
        feed = {port.name: given[port.name].astype(port.dtype) for port in self._ports}
        (found,) = self._session.run([self._output], feed)
        vectors = torch.from_numpy(np.asarray(found, np.float32))
        vectors = vectors.flatten(1) if self.pooling is None else self.pooling(vectors, tensors[1])
        return vectors if self.normalise is None else self.normalise(vectors)

    def _texts(self, ids: Tensor, mask: Tensor) -> dict[str, np.ndarray]:
        return {
            "input_ids": ids.numpy(),
            "attention_mask": mask.numpy(),
            "token_type_ids": np.zeros_like(ids.numpy()),
        }

    def _images(self, images: Tensor) -> dict[str, np.ndarray]:
        is_pixels = images.shape[-1] == 3 and images.dtype == torch.uint8
        if is_pixels and not self._channels_last:
            images = images.permute(0, 3, 1, 2)
        elif not is_pixels and self._channels_last:
            images = images.permute(0, 2, 3, 1)
        return {self._ports[0].name: images.contiguous().numpy()}
