"""Reading and downloading PyTorch states. Not for seeded weights: those are each encoder's own."""

from __future__ import annotations

import socket
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from embark.errors import ConfigurationError

if TYPE_CHECKING:
    import torch

_DOWNLOAD_SECONDS = 10.0


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a .safetensors file, or of a .pth file, which may hold nothing else.

    Raises:
        ConfigurationError: the file is neither.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        raise ConfigurationError(
            f"{path} holds no weights that can be read ({error}); save a state_dict as .safetensors"
            " or .pth"
        ) from error


def download(url: str) -> dict[str, torch.Tensor]:
    """Return the state at one of torchvision's addresses, from its cache if it is there.

    Raises:
        OSError: it cannot be had.
    """
    import torch

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_SECONDS)
    try:
        return dict(torch.hub.load_state_dict_from_url(url, progress=False, check_hash=True))
    finally:
        socket.setdefaulttimeout(before)
