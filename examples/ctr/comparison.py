"""What is compared with what, over a running platform: fills the archive, trains the arms.

Two comparisons: all items with vectors from the archive against none; and on some of the items also
with towers that run inline, frozen and trained, which are too slow for all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from embark.client import Client
from embark.errors import ServiceError
from embark.keys import Key
from embark.models import load_exported
from embark.torch import CachedEmbedding
from examples.ctr import cells, filling, towers
from examples.ctr.arms import Entry, Outcome, compete
from examples.ctr.catalogue import Catalogue, Items
from examples.ctr.cells import Split
from examples.ctr.content import Archived, Content, EndToEnd, Nothing, Stored, TrainedText
from examples.ctr.deployment import Deployment, console
from examples.ctr.impressions import Impressions
from examples.ctr.predicting import Arm
from examples.ctr.presets import TRAINED_SHARE, Preset
from examples.ctr.report import compared
from examples.ctr.tower import MODEL as OWN_TEXT_MODEL
from examples.ctr.tower import TextTower
from examples.ctr.training import Schedule
from examples.ctr.work import Work
from export.verification import cosines

IMAGE_MODEL = "inception_v3"
EMBARK = "embark"
_REDUCED_ROWS = 16
_TUNED_RATE = 3e-4
_FOLLOW_S = 30.0
_NEVER_SEEN = "a text that nobody has sent before {}"
_STORED_ERROR = 2e-3
"""How far float16 may move the numbers of an OOV vector, relative to the largest."""


@dataclass(frozen=True)
class Material:
    """The data of a run.

    Attributes:
        items: a generated catalogue, or public items, which have no pictures.
        split: its cells.
        impressions: what the cells are of.
    """

    items: Items
    split: Split
    impressions: Impressions

    @property
    def pictures(self) -> bool:
        """Whether items have pictures."""
        return isinstance(self.items, Catalogue)


@dataclass(frozen=True)
class Reduced:
    """The comparison on some of the items."""

    split: Split
    outcomes: Sequence[Outcome]


class Comparison:
    """See the module; the methods are called in their order.

    Args:
        material: the data.
        preset: sizes.
        client: of the platform.
        deployment: its repository and settings.
        text_model: EmbArk's name.
        seed: of the first run; the others follow it.
    """

    def __init__(
        self,
        *,
        material: Material,
        preset: Preset,
        client: Client,
        deployment: Deployment,
        text_model: str,
        seed: int,
    ) -> None:
        self._material, self._preset = material, preset
        self._client, self._deployment = client, deployment
        self._text_model, self._seed = text_model, seed
        self._seeds = range(seed, seed + preset.seeds)
        self._schedule = Schedule(preset.head_epochs)
        self._keys: dict[str, list[Key]] = {}

    def fill(self) -> None:
        """Have the archive filled with the vectors of all items."""
        items = self._material.items
        if self._text_model == OWN_TEXT_MODEL:
            newest = load_exported(self._deployment.repository)[OWN_TEXT_MODEL][-1]
            filling.serves(self._client, OWN_TEXT_MODEL, newest.generation)
        self._keys[self._text_model] = filling.fill(
            self._client, self._text_model, len(items), items.text
        )
        if isinstance(items, Catalogue):
            self._keys[IMAGE_MODEL] = filling.fill(
                self._client, IMAGE_MODEL, len(items), items.picture
            )

    def run(self) -> tuple[list[Outcome], dict[str, Arm]]:
        """Train and compare on all items."""
        entries = {
            "no content": Entry(Nothing, self._schedule),
            "no content, item table": Entry(Nothing, self._schedule, items=True),
            EMBARK: Entry(self._archived, self._schedule),
        }
        return compete(entries, self._material.split, self._material.items, self._seeds, _tell)

    def run_reduced(self, found: dict[str, Any]) -> Reduced:
        """Train and compare on some of the items; adds what was measured to `found`."""
        items = self._material.items
        assert isinstance(items, Catalogue)
        count = min(self._preset.reduced, len(items))
        chosen = np.unique(np.linspace(0, len(items) - 1, count).astype(np.int64))
        split = cells.split(self._material.impressions, TRAINED_SHARE, chosen)
        schedule = Schedule(
            self._preset.end_to_end_epochs, rows=_REDUCED_ROWS, tower_rate=_TUNED_RATE
        )
        place = torch.zeros(len(items), dtype=torch.int64)
        place[torch.from_numpy(chosen)] = torch.arange(len(chosen))
        inline = _Inline(self._deployment, self._text_model, items, chosen)
        contents: dict[str, Callable[[], Content]] = {
            "no content": Nothing,
            "inline": lambda: Stored(inline.text, inline.image, place),
            EMBARK: self._archived,
            "end to end": lambda: inline.end_to_end(place),
        }
        entries = {name: Entry(made, schedule) for name, made in contents.items()}
        outcomes, _ = compete(entries, split, items, self._seeds, _tell)
        found["reduced_items"] = len(chosen)
        found["inline"] = {**inline.seconds, **self._agreement(inline, chosen, outcomes)}
        found["reduced"] = compared(split, outcomes)
        return Reduced(split, outcomes)

    def install_oov(self, arm: Arm, work: Work) -> dict[str, Any]:
        """Give EmbArk the learned OOV vectors, and see that lookups are answered with them.

        Raises:
            ServiceError: they are not, within `_FOLLOW_S`.
        """
        content = arm.content
        assert isinstance(content, Archived)
        embeddings = {self._text_model: content.text}
        if content.image is not None:
            embeddings[IMAGE_MODEL] = content.image
        answered = {}
        for model, embedding in embeddings.items():
            embedding.save_oov(work.oov(model))
            self._deployment.command(
                "models", "oov", model, str(work.oov(model)), "--generation", embedding.generation
            )
            answered[model] = self._follows(model, np.load(work.oov(model)))
        return {"answered_after_s": answered, "drop": self._schedule.drop}

    def archived(self) -> dict[str, npt.NDArray[np.float16]]:
        """Return the vectors of all items, as they are stored: `text` and, if any, `image`."""
        names = {self._text_model: "text", IMAGE_MODEL: "image"}
        return {
            names[model]: filling.vectors(self._client, model, keys)
            for model, keys in self._keys.items()
        }

    def facts(self) -> dict[str, Any]:
        """Return what was trained on what."""
        live = {one["name"]: one for one in self._client.models()}
        preset = self._preset
        return {
            "seed": self._seed,
            "items": len(self._material.items),
            "days": preset.days,
            "impressions": len(self._material.impressions),
            "clicks": int(self._material.impressions.click.sum()),
            "trained_share": TRAINED_SHARE,
            "text_model": self._text_model,
            "image_model": IMAGE_MODEL if self._material.pictures else None,
            **{
                f"{modality}_{fact}": live[model][fact]
                for modality, model in zip(("text", "image"), self._keys, strict=False)
                for fact in ("dimension", "generation", "weights")
            },
        }

    def _archived(self) -> Content:
        def embedding(model: str) -> CachedEmbedding:
            return CachedEmbedding(self._client, model)

        text = embedding(self._text_model), self._keys[self._text_model]
        if IMAGE_MODEL not in self._keys:
            return Archived(*text)
        return Archived(*text, embedding(IMAGE_MODEL), self._keys[IMAGE_MODEL])

    def _follows(self, model: str, oov: npt.NDArray[np.float32]) -> float:
        """Return after how many seconds a lookup of what nobody knows is answered with `oov`."""
        started = time.monotonic()
        unknown = Key(model, self._keys[model][0].generation, bytes(16))
        while True:
            (answer,) = self._client.lookup([unknown], model, on_miss="skip").embeddings
            if np.abs(answer - oov).max() <= _STORED_ERROR * max(1e-6, float(np.abs(oov).max())):
                return time.monotonic() - started
            if time.monotonic() - started > _FOLLOW_S:
                raise ServiceError(f"{model} is not answered with the OOV vector that was set")
            time.sleep(0.2)

    def _agreement(
        self, inline: _Inline, chosen: npt.NDArray[np.int64], outcomes: Sequence[Outcome]
    ) -> dict[str, float]:
        agreement: dict[str, float] = {}
        for name, model, ours in (
            ("text", self._text_model, inline.text),
            ("image", IMAGE_MODEL, inline.image),
        ):
            keys = [self._keys[model][item] for item in chosen]
            stored = filling.vectors(self._client, model, keys).astype(np.float32)
            agreement[f"{name}_lowest_cosine"] = float(cosines(stored, ours.numpy()).min())
            agreement[f"{name}_largest_difference"] = float(np.abs(stored - ours.numpy()).max())
        first = {one.name: one.predicted["none"].ctr for one in reversed(outcomes)}
        apart = np.abs(first["inline"] - first[EMBARK]).max()
        agreement["largest_difference_of_ctr"] = float(apart)
        return agreement


class _Inline:
    """The towers run here for some items, timed."""

    def __init__(
        self,
        deployment: Deployment,
        text_model: str,
        items: Catalogue,
        chosen: npt.NDArray[np.int64],
    ) -> None:
        self._own = text_model == OWN_TEXT_MODEL
        self._items = items
        texts = [items.text(item).encode() for item in chosen]
        pictures = [items.picture(item) for item in chosen]
        encoder = TextTower() if self._own else None
        self._text_tower = towers.Inline(deployment.repository, text_model, encoder)
        self._image_tower = towers.Inline(deployment.repository, IMAGE_MODEL)
        started = time.perf_counter()
        self.text: Tensor = self._text_tower.embed(texts)
        between = time.perf_counter()
        self.maps, self.image = self._image_tower.maps(pictures)
        ended = time.perf_counter()
        self.seconds = {
            "seconds_per_text": (between - started) / len(chosen),
            "seconds_per_picture": (ended - between) / len(chosen),
        }

    def end_to_end(self, place: Tensor) -> EndToEnd:
        """Return content whose towers are trained, from the weights that are served."""
        dimensions = (self.text.shape[1], self.image.shape[1])
        texts: Content = Stored(self.text, self.image, place)
        if self._own:
            every = [self._items.text(item) for item in range(len(self._items))]
            texts = TrainedText(self._text_tower.module(), *towers.tokenised(every))
        return EndToEnd(texts, self._image_tower.last_block(), self.maps, place, dimensions)


def _tell(outcome: Outcome) -> None:
    console.print(
        f"{outcome.name}, seed {outcome.seed}: held-out loss {outcome.losses[-1].heldout:.4f},"
        f" {outcome.seconds:.1f} s"
    )
