"""An exported model's vectors, computed directly by PyTorch from the very weights it serves.

What the demo and the tests compare the platform with. One input at a time, unpadded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embark.errors import ConfigurationError
from embark.models import ModelFacts
from export import graph
from export.encoders import find
from export.encoders.base import Encoder, Weights
from export.exporting import WEIGHTS_FILE
from export.repository import newest_facts


class Reference:
    """The newest version of an exported model, in PyTorch.

    Args:
        repository: where it was exported to.
        name: of the model.
        encoder: what was exported, if it is not a shipped one.

    Raises:
        ConfigurationError: it was never exported.
    """

    def __init__(self, repository: Path, name: str, encoder: Encoder | None = None) -> None:
        from safetensors.torch import load_file

        facts = newest_facts(repository, name)
        if facts is None:
            raise ConfigurationError(f"{name} is not exported in {repository}")
        self.facts: ModelFacts = facts
        self._encoder = find(name) if encoder is None else encoder
        state = load_file(repository / f"{name}_encoder" / str(facts.version) / WEIGHTS_FILE)
        self._module = graph.load_module(self._encoder, Weights(state, facts.weights))

    def embed(self, payloads: Sequence[bytes]) -> npt.NDArray[np.float32]:
        """Return vectors, float32 of shape (len(payloads), dimension)."""
        return np.concatenate(
            [graph.embed_one(self._encoder, self._module, payload) for payload in payloads]
        )
