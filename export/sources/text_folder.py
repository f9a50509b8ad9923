"""A text encoder of `transformers`: config.json, tokenizer.json, weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embark.errors import ConfigurationError
from embark.inputs import Modality
from export.encoders.base import Encoder
from export.preprocessing import TextPreprocessing
from export.sources.folder import check_complete, contents, load_config, load_model, read_json
from export.sources.options import Options

if TYPE_CHECKING:
    import torch

MOST_TOKENS = 512
_MODES = ("mean", "cls")
# Their positions are counted from behind the padding token's.
_SHIFTED = ("camembert", "data2vec-text", "longformer", "mpnet", "roberta", "xlm-roberta", "xmod")


class TextFolder(Encoder):
    """See the module.

    Args:
        folder: what `save_pretrained` of model and tokenizer wrote.
        options: `pooling` is needed; `max_tokens`, `normalise` and `prefix` are heeded.

    Raises:
        ConfigurationError: pooling is not said, or the folder has no such model.
    """

    modality = Modality.TEXT

    def __init__(self, folder: Path, options: Options) -> None:
        if options.pooling not in _MODES:
            raise ConfigurationError(
                f"{folder} does not say how token vectors become one; say --pooling"
                f" {' or --pooling '.join(_MODES)}"
            )
        self._folder = folder
        self.origin = f"folder {folder.name}"
        self._options = options
        self._modes = (options.pooling,)
        config = load_config(folder)
        self.dimension = config.hidden_size
        self._text = text_preprocessing(folder, config, options)

    @property
    def preprocessing(self) -> TextPreprocessing:
        """The folder's tokenizer."""
        return self._text

    def module(self) -> torch.nn.Module:
        """Return the transformer with pooling."""
        from export.encoders.pooling import Normalise, Pooling, TextTower

        steps: list[torch.nn.Module] = [Pooling(self._modes)]
        if self._options.normalise:
            steps.append(Normalise())
        return TextTower(load_transformer(self._folder), steps)

    def architecture(self) -> Iterator[str | bytes]:
        """Return the folder's configuration, and the options."""
        yield self._options.architecture
        yield from contents(self._folder, "*.json")

    def recipe(self) -> Iterator[str | bytes]:
        """Return the folder's files, and the options."""
        yield repr(self._options)
        yield from contents(self._folder)


def text_preprocessing(
    folder: Path, config: Any, options: Options, max_tokens: int | None = None
) -> TextPreprocessing:
    """Return the preprocessing of a text folder.

    Args:
        folder: has tokenizer.json.
        config: of `transformers`.
        options: `max_tokens` and `prefix` are heeded.
        max_tokens: what another file of the folder says.

    Raises:
        ConfigurationError: there is no tokenizer.json.
    """
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.is_file():
        raise ConfigurationError(
            f"{folder} has no tokenizer.json; save the tokenizer again with"
            " AutoTokenizer.from_pretrained(...).save_pretrained(...)"
        )
    stated = read_json(folder / "tokenizer_config.json").get("model_max_length")
    positions = getattr(config, "max_position_embeddings", None)
    if positions and config.model_type in _SHIFTED:
        positions -= (config.pad_token_id or 0) + 1
    found = max_tokens or min(limit for limit in (stated, positions, MOST_TOKENS) if limit)
    return TextPreprocessing(
        tokenizer,
        options.max_tokens or int(found),
        pad_id=getattr(config, "pad_token_id", None) or 0,
        prefix=options.prefix,
    )


def load_transformer(folder: Path) -> torch.nn.Module:
    """Return a network that gives token vectors, without the pooler that it may have.

    Raises:
        ConfigurationError: it cannot be loaded, or lacks weights.
    """
    module, missing = load_model(folder)
    if hasattr(module, "pooler"):
        # It takes no part, and its weights are often not in the folder.
        setattr(module, "pooler", None)  # noqa: B010 - a module is declared to be a module
    check_complete(folder, {name for name in missing if not name.startswith("pooler.")})
    return module
