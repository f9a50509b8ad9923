"""What a ranking service needs at run time: the trained head, and what it is told of the archive.

Not for looking vectors up: the service does that, and says which are hits.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from embark.errors import ConfigurationError
from examples.ctr import catalogue as catalogues
from examples.ctr.catalogue import Catalogue
from examples.ctr.impressions import band_of
from examples.ctr.mixture import Mixture
from examples.ctr.model import Batch, Head, load_head
from examples.ctr.work import Work

_Floats = npt.NDArray[np.float32]
_Integers = npt.NDArray[np.int64]
_Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class CtrDistribution:
    """Mixtures over the logit of the CTR, one for each candidate; arrays (n, components).

    Attributes:
        weight, mean, sigma: of each component.
    """

    weight: _Floats
    mean: _Floats
    sigma: _Floats


class Scorer:
    """A trained head over one catalogue; make it with `load`. Safe for many threads.

    Attributes:
        text_model, image_model: EmbArk's model names.
        text_dimension, image_dimension: lengths of their vectors.
        catalogue: whose items can be scored.
    """

    def __init__(
        self, head: Head, catalogue: Catalogue, *, text_model: str, image_model: str
    ) -> None:
        self._head = head.eval()
        self.catalogue = catalogue
        self.text_model = text_model
        self.image_model = image_model
        self.text_dimension = head.text_dimension
        self.image_dimension = head.image_dimension
        self._category = torch.from_numpy(catalogue.category.astype(np.int64))
        self._advertiser = torch.from_numpy(catalogue.advertiser.astype(np.int64))

    @classmethod
    def load(cls, folder: Path) -> Scorer:
        """Return what `train` left in a work folder.

        Raises:
            ConfigurationError: `train` has not run to its end there.
        """
        work = Work(folder)
        try:
            facts = json.loads(work.scorer.read_bytes())
            head = load_head(work.head)
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"no trained model in {folder} ({error}); run `python -m examples.ctr train"
                f" --work {folder}` first"
            ) from None
        catalogue = catalogues.generate(facts["items"], facts["days"], facts["seed"])
        return cls(
            head,
            catalogue,
            text_model=facts["text_model"],
            image_model=facts["image_model"],
        )

    def score(  # noqa: PLR0917 - what a lookup of two modalities answers
        self,
        user: int,
        items: _Integers,
        text: _Floats,
        text_hit: _Flags,
        image: _Floats,
        image_hit: _Flags,
        time_s: float = 43_200.0,
    ) -> _Floats:
        """Return the expected CTR of each candidate, float32 of shape (n,).

        Args:
            user: the user's segment.
            items: candidates, indices in the catalogue, shape (n,).
            text: vectors of their texts, float32 (n, dimension); for rows that are no hits the
                learned OOV vector is taken, whatever they hold.
            text_hit: which rows are vectors of their inputs, shape (n,).
            image: vectors of their pictures.
            image_hit: the same of pictures.
            time_s: seconds since the start; only the hour of the day counts.
        """
        vectors = self._text(text, text_hit), self._image(image, image_hit)
        mixture = self._mixture(user, items, *vectors, time_s)
        with torch.inference_mode():
            expected: _Floats = mixture.expected().numpy()
        return expected

    def distribution(  # noqa: PLR0917 - as `score`
        self,
        user: int,
        items: _Integers,
        text: _Floats,
        text_hit: _Flags,
        image: _Floats,
        image_hit: _Flags,
        time_s: float = 43_200.0,
    ) -> CtrDistribution:
        """Return the mixtures whose means `score` returns."""
        vectors = self._text(text, text_hit), self._image(image, image_hit)
        mixture = self._mixture(user, items, *vectors, time_s)
        return CtrDistribution(
            mixture.log_weight.exp().numpy(), mixture.mean.numpy(), mixture.sigma.numpy()
        )

    def _mixture(
        self, user: int, items: _Integers, text: torch.Tensor, image: torch.Tensor, time_s: float
    ) -> Mixture:
        with torch.inference_mode():
            index = torch.from_numpy(np.asarray(items, np.int64))
            batch = Batch(
                user=torch.full((len(index),), user),
                band=torch.full((len(index),), int(band_of(np.array([time_s]))[0])),
                row=torch.arange(len(index)),
                category=self._category[index],
                advertiser=self._advertiser[index],
                item=index,
                text=text,
                image=image,
            )
            mixture: Mixture = self._head(batch)
        return mixture

    def _text(self, vectors: _Floats, hit: _Flags) -> torch.Tensor:
        return _vectors(vectors, hit, self._head.text_oov)

    def _image(self, vectors: _Floats, hit: _Flags) -> torch.Tensor:
        return _vectors(vectors, hit, self._head.image_oov)


def _vectors(vectors: _Floats, hit: _Flags, oov: torch.Tensor) -> torch.Tensor:
    given = torch.from_numpy(np.asarray(vectors, np.float32))
    return torch.where(torch.from_numpy(np.asarray(hit, np.bool_)).unsqueeze(1), given, oov)
