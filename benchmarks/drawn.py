"""A model for vectors that no encoder gave."""

from __future__ import annotations

from embark.inputs import Modality
from embark.models import ModelFacts

GENERATION = "0" * 16


def drawn_facts(name: str, dimension: int) -> ModelFacts:
    """Return the facts of a text model with float16 vectors of some dimension."""
    return ModelFacts(
        name=name,
        modality=Modality.TEXT,
        dimension=dimension,
        dtype="float16",
        generation=GENERATION,
        version=1,
        max_batch_size=1,
        weights="none",
        recipe="none",
    )
