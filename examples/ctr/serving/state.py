"""An archive as it is on any day: the known items are in it, the ones to come are not.

Made anew before each run from what `train` left, so that new items are new every time.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from embark.backends import open_backends
from embark.client import Client
from embark.config import load
from embark.inputs import text_input
from embark.keys import digest
from embark.models import load_catalogue
from examples.ctr.catalogue import Catalogue
from examples.ctr.deployment import Deployment
from examples.ctr.filling import fill
from examples.ctr.scorer import Scorer

_LOCKS = ("lock.mdb", "*.lock")


def copied(deployment: Deployment, trained: Path, data: Path) -> Deployment:
    """Return the deployment with a data folder of its own, beginning with a trained archive.

    Args:
        deployment: whose models it serves.
        trained: data folder that `train` filled; nothing is copied if there is none.
        data: the new one; what it held is removed.
    """
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    if (trained / "archive").exists():
        shutil.copytree(
            trained / "archive", data / "archive", ignore=shutil.ignore_patterns(*_LOCKS)
        )
    environment = {**deployment.environment, "EMBARK_DATA": str(data.absolute())}
    return replace(deployment, environment=environment)


def forget(
    deployment: Deployment, scorer: Scorer, pictures: Sequence[bytes], items: Sequence[int]
) -> None:
    """Take items' vectors out of the archive, while no process has it open.

    Args:
        deployment: whose archive it is.
        scorer: with its catalogue and models.
        pictures: digest of each item's picture.
        items: which are to be forgotten.
    """
    texts = [digest(text_input(scorer.catalogue.text(item))) for item in items]
    models = load_catalogue(deployment.repository)
    backends = open_backends(load(environment=deployment.environment).settings)
    try:
        for name, digests in (
            (scorer.text_model, texts),
            (scorer.image_model, [pictures[item] for item in items]),
        ):
            backends.store.delete_many(name, models[name].generation, digests)
    finally:
        backends.close()


def warm(url: str, scorer: Scorer, count: int) -> None:
    """Have the vectors of the first `count` items computed, those that are not there already.

    Raises:
        Unavailable: they do not come.
    """
    catalogue: Catalogue = scorer.catalogue
    with Client(url) as client:
        fill(client, scorer.text_model, count, catalogue.text)
        fill(client, scorer.image_model, count, catalogue.picture)
