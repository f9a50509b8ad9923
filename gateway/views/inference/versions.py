"""Which generation a model's name and version number mean."""

from __future__ import annotations

from embark.errors import NotFound
from embark.models import Catalogue, Model


def find_version(catalogue: Catalogue, name: str, version: str | None) -> Model:
    """Return the generation that a version number names, without one the live generation.

    Raises:
        NotFound: no such model, or no served generation of it has this version.
    """
    if version is None:
        return catalogue[name]
    served = {str(model.facts.version): model for model in catalogue.generations(name)}
    if version not in served:
        raise NotFound(
            f"{name} has no version {version[:20]!r}; it has {', '.join(served)}",
            code="unknown_version",
        )
    return served[version]
