"""The catalogue: what is known about each model, stated once by `embark export`, read by all.

Facts live in `<repository>/<model>/<version>/embark.json`, beside the files that Triton serves;
they never change once written. Several generations of a model may be there at once; which one is
live is said by `embark.generations`, and without a word the one that was exported first is. Not for
building models (`export`) and not for calling them (`embark.retina`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embark.errors import ConfigurationError, NotFound
from embark.inputs import Modality

FACTS_FILE = "embark.json"
OOV_FILE = "oov.npy"

Vector = npt.NDArray[np.floating[Any]]


class ModelFacts(BaseModel):
    """The content of `embark.json`: one generation of one model.

    Attributes:
        name: public model name.
        modality: what it embeds.
        dimension: length of its vectors.
        dtype: type that the archive stores, `float16` or `float32`.
        generation: 16 hexadecimal characters; digest of weights, preprocessing and dtype.
        version: Triton version number that serves this generation.
        max_batch_size: most items in one inference request.
        precision: arithmetic of the compiled encoder: `fp32`, `fp16`, `bf16` or `int8`.
        weights: where the weights come from, in words for people.
        recipe: digest of what went into the export, to tell whether it is out of date.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")
    modality: Modality
    dimension: int = Field(ge=1, le=65535)
    dtype: str = Field(pattern=r"^float(16|32)$")
    generation: str = Field(pattern=r"^[0-9a-f]{16}$")
    version: int = Field(ge=1)
    max_batch_size: int = Field(ge=1)
    precision: str = Field("fp32", pattern=r"^(fp32|fp16|bf16|int8)$")
    weights: str
    recipe: str


@dataclass(frozen=True)
class Model:
    """One generation of a model with its out-of-vocabulary vector.

    Attributes:
        facts: see `ModelFacts`.
        oov: out-of-vocabulary vector, shape (dimension,), of the stored dtype, read-only.
    """

    facts: ModelFacts
    oov: Vector = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """Public model name."""
        return self.facts.name

    @property
    def generation(self) -> str:
        """Generation whose vectors this model gives."""
        return self.facts.generation


class Catalogue(Mapping[str, Model]):
    """The live generation of every model, by name, and the generations beside it.

    Never changes: one catalogue is one view of all models, for as long as a request takes.

    Args:
        live: by name.
        others: generations that are served and not live.
    """

    def __init__(self, live: Mapping[str, Model], others: Iterable[Model] = ()) -> None:
        self._models = dict(sorted(live.items()))
        served = (*self._models.values(), *others)
        self._served = {(model.name, model.generation): model for model in served}

    def __getitem__(self, name: str) -> Model:
        """Return the live generation of a model.

        Raises:
            NotFound: no model has this name; the message lists those that exist.
        """
        try:
            return self._models[name]
        except KeyError:
            known = ", ".join(self._models) or "none"
            raise NotFound(
                f"no model is named {name!r}; the models are: {known}", code="unknown_model"
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._models

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def served(self, name: str, generation: str) -> Model | None:
        """Return one generation, live or not, None if it is not served."""
        return self._served.get((name, generation))

    def generation(self, name: str, generation: str) -> Model:
        """Return one generation, live or not.

        Raises:
            NotFound: no model has this name, or this generation of it is not served; the message
                lists those that are.
        """
        model = self.served(name, generation)
        if model is None:
            served = ", ".join(one.generation for one in self.generations(name))
            raise NotFound(
                f"{name} has no generation {generation!r:.40}; served are: {served}",
                code="unknown_generation",
            )
        return model

    def generations(self, name: str) -> list[Model]:
        """Return every served generation of a model, in the order of their versions.

        Raises:
            NotFound: no model has this name.
        """
        name = self[name].name
        found = (model for model in self._served.values() if model.name == name)
        return sorted(found, key=lambda model: model.facts.version)


Exported = Mapping[str, Sequence[Model]]
"""The generations of each model that are in a repository, those exported first in front."""


def load_exported(repository: Path) -> Exported:
    """Read every exported generation below `repository`, each from its highest version.

    Raises:
        ConfigurationError: the folder is missing, holds no exported model, or facts are invalid.
    """
    models: dict[str, list[Model]] = {}
    for name, versions in exported_models(repository).items():
        # A generation keeps the place of its first version and is served by its last one.
        generations: dict[str, Model] = {}
        for version in versions:
            model = _load_model(repository / name / str(version))
            generations[model.generation] = model
        models[name] = list(generations.values())
    if not models:
        raise ConfigurationError(
            f"no exported model in {repository}; run `embark export --all --output {repository}`"
        )
    return models


def load_catalogue(repository: Path) -> Catalogue:
    """Read a repository of which no generation was ever promoted or retired.

    Raises:
        ConfigurationError: see `load_exported`.
    """
    exported = load_exported(repository)
    live = {name: models[0] for name, models in exported.items()}
    return Catalogue(live, (model for models in exported.values() for model in models[1:]))


def exported_models(repository: Path) -> dict[str, list[int]]:
    """Return the complete versions of every exported model, by name; none of a missing folder."""
    folders = sorted(repository.iterdir()) if repository.is_dir() else []
    found = {folder.name: exported_versions(folder) for folder in folders}
    return {name: versions for name, versions in found.items() if versions}


def exported_versions(folder: Path) -> list[int]:
    """Return the version numbers below a model's folder whose export is complete."""
    return sorted(
        int(path.parent.name)
        for path in folder.glob(f"*/{FACTS_FILE}")
        if path.parent.name.isdecimal()
    )


def remove_generation(repository: Path, name: str, generation: str) -> list[int]:
    """Remove every version of a generation from a repository; returns their numbers.

    The front goes first, by a rename, so that at no moment a version looks complete and is not.

    Raises:
        ConfigurationError: the repository cannot be written.
    """
    removed = []
    for version in exported_versions(repository / name):
        if _load_model(repository / name / str(version)).generation != generation:
            continue
        try:
            for folder in (repository / name, repository / f"{name}_encoder"):
                unused = folder / f".retired-{version}"
                if (folder / str(version)).exists():
                    (folder / str(version)).rename(unused)
                shutil.rmtree(unused, ignore_errors=True)
        except OSError as error:
            raise ConfigurationError(
                f"version {version} of {name} cannot be removed from {repository}: {error}"
            ) from None
        removed.append(version)
    return removed


def _load_model(folder: Path) -> Model:
    path = folder / FACTS_FILE
    try:
        facts = ModelFacts.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ConfigurationError(f"{path} is not a valid model description: {error}") from error
    if facts.name != folder.parent.name or str(facts.version) != folder.name:
        raise ConfigurationError(
            f"{path} describes {facts.name} version {facts.version}; it was moved or renamed"
        )
    return Model(facts, _load_oov(folder, facts))


def _load_oov(folder: Path, facts: ModelFacts) -> Vector:
    path = folder / OOV_FILE
    oov: Vector
    if path.exists():
        oov = np.load(path, allow_pickle=False).astype(facts.dtype)
    else:
        oov = np.zeros(facts.dimension, facts.dtype)
    if oov.shape != (facts.dimension,):
        raise ConfigurationError(
            f"{path} has shape {oov.shape}; {facts.name} needs ({facts.dimension},)"
        )
    oov.flags.writeable = False
    return oov
