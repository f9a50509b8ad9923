"""A module in float16: what `export.precision.halved` returns. Imports torch.

Not autocast: its choices do not survive an export to ONNX, these casts do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# Sums over many numbers, and squares, leave float16's range or digits.
_IN_FLOAT32: frozenset[Callable[..., Any]] = frozenset(
    {
        functional.adaptive_avg_pool2d,
        functional.cosine_similarity,
        functional.normalize,
        functional.softmax,
        torch.cumsum,
        torch.linalg.norm,
        torch.linalg.vector_norm,
        torch.logsumexp,
        torch.mean,
        torch.norm,
        torch.softmax,
        torch.std,
        torch.sum,
        torch.var,
        Tensor.cumsum,
        Tensor.logsumexp,
        Tensor.mean,
        Tensor.norm,
        Tensor.softmax,
        Tensor.std,
        Tensor.sum,
        Tensor.var,
    }
)


class Half(nn.Module):
    """A module whose weights and arithmetic are float16, reductions apart; its result is float32.

    Args:
        module: becomes float16 itself; it must not be used elsewhere.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.half()

        # The exporter matches variable axes with the names of arguments: keep the module's.
        @functools.wraps(module.forward)
        def forward(*tensors: Tensor) -> Tensor:
            narrow = [one.half() if one.dtype == torch.float32 else one for one in tensors]
            with _Float32Reductions():
                vectors: Tensor = self.module(*narrow)
            return vectors.float()

        self.forward = forward


class _Float32Reductions(TorchFunctionMode):
    """Runs the functions of `_IN_FLOAT32` in float32, and narrows what they return."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        first = args[0] if args else given.get("input")
        if func not in _IN_FLOAT32 or not _is_half(first) or given.get("dtype") is not None:
            return func(*args, **given)
        wide = [one.float() if _is_half(one) else one for one in args]
        result = func(*wide, **{key: _widened(value) for key, value in given.items()})
        return result.half()


def _is_half(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.float16


def _widened(value: Any) -> Any:
    return value.float() if _is_half(value) else value
