"""The GPU that engines are made for, and the names of what belongs to it."""

from __future__ import annotations

from dataclasses import dataclass

from export.tensorrt.library import TensorRt, unavailable


@dataclass(frozen=True)
class Device:
    """A CUDA device.

    Attributes:
        name: as its driver has it.
        capability: CUDA compute capability, such as `9.0`.
    """

    name: str
    capability: str

    def engine_file(self, identity: str, library: TensorRt) -> str:
        """Return an engine's file name: an engine fits one graph, TensorRT and capability."""
        return f"{identity}-trt{library.version}-sm{self._digits}.plan"

    def timing_file(self, library: TensorRt) -> str:
        """Return the file name of the timings; they are of one model of GPU."""
        model = "".join(one if one.isalnum() else "-" for one in self.name).lower()
        return f"timing-trt{library.version}-sm{self._digits}-{model}.cache"

    @property
    def _digits(self) -> str:
        return self.capability.replace(".", "")


def current_device() -> Device:
    """Return the device that PyTorch uses.

    Raises:
        EmbArkError: `tensorrt_unavailable`; PyTorch finds none.
    """
    import torch

    if not torch.cuda.is_available():
        raise unavailable(
            f"PyTorch {torch.__version__} finds no CUDA device, though TensorRT does; install a"
            " PyTorch that is built for this machine's driver"
        )
    major, minor = torch.cuda.get_device_capability()
    return Device(torch.cuda.get_device_name(), f"{major}.{minor}")
