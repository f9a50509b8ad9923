"""Models for tests that need facts but no weights."""

from __future__ import annotations

from pathlib import Path

from embark.inputs import Modality
from embark.models import FACTS_FILE, Catalogue, ModelFacts, load_catalogue

DIMENSION = 8
GENERATION = "0123456789abcdef"


def facts(name: str, modality: Modality = Modality.TEXT, **changes: object) -> ModelFacts:
    fields = {
        "name": name,
        "modality": modality,
        "dimension": DIMENSION,
        "dtype": "float16",
        "generation": GENERATION,
        "version": 1,
        "max_batch_size": 4,
        "weights": "none",
        "recipe": "none",
    }
    return ModelFacts.model_validate({**fields, **changes})


def write_model(repository: Path, described: ModelFacts) -> Path:
    folder = repository / described.name / str(described.version)
    folder.mkdir(parents=True)
    (folder / FACTS_FILE).write_text(described.model_dump_json(), "utf-8")
    return folder


def catalogue(folder: Path) -> Catalogue:
    """Two models: `words` embeds text in float16, `pictures` images in float32."""
    write_model(folder, facts("words"))
    write_model(folder, facts("pictures", Modality.IMAGE, dtype="float32"))
    return load_catalogue(folder)
