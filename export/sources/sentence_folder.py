"""A folder of sentence-transformers: a transformer, pooling, and what follows by modules.json."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embark.errors import ConfigurationError
from embark.inputs import Modality
from export.encoders.base import Encoder
from export.encoders.weights import read_state
from export.preprocessing import TextPreprocessing
from export.sources.folder import contents, load_config, read_json
from export.sources.options import Options
from export.sources.text_folder import load_transformer, text_preprocessing

if TYPE_CHECKING:
    import torch

_AFTER_POOLING = ("Dense", "Normalize", "Dropout")
_OLD_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


class SentenceFolder(Encoder):
    """See the module.

    Args:
        folder: what `SentenceTransformer.save` wrote.
        options: only `max_tokens`, `prefix` and `normalise` are heeded.

    Raises:
        ConfigurationError: a module of the folder is not supported.
    """

    modality = Modality.TEXT

    def __init__(self, folder: Path, options: Options) -> None:
        if options.pooling is not None:
            raise ConfigurationError(f"{folder} says its pooling itself; leave out --pooling")
        self._folder = folder
        self.origin = f"folder {folder.name}"
        self._options = options
        modules = read_json(folder / "modules.json")
        kinds = [str(one["type"]).rpartition(".")[2] for one in modules]
        paths = [folder / str(one["path"]) for one in modules]
        if kinds[:2] != ["Transformer", "Pooling"] or not set(kinds[2:]) <= set(_AFTER_POOLING):
            raise ConfigurationError(
                f"{folder} is made of {', '.join(kinds)}; what can be exported is Transformer,"
                f" Pooling, then any of {', '.join(_AFTER_POOLING)}"
            )
        self._transformer = paths[0]
        self._steps = list(zip(kinds[2:], paths[2:], strict=True))
        config = load_config(self._transformer)
        self._modes = _modes(paths[1])
        self.dimension = config.hidden_size * len(self._modes)
        for kind, path in self._steps:
            if kind == "Dense":
                self.dimension = int(read_json(path / "config.json")["out_features"])
        self._text = self._preprocessing(config)

    @property
    def preprocessing(self) -> TextPreprocessing:
        """The folder's tokenizer."""
        return self._text

    def module(self) -> torch.nn.Module:
        """Return the transformer with the steps that follow."""
        from export.encoders.pooling import Normalise, Pooling, TextTower

        steps: list[torch.nn.Module] = [Pooling(self._modes)]
        for kind, path in self._steps:
            if kind == "Dense":
                steps.append(_dense(path))
            elif kind == "Normalize":
                steps.append(Normalise())
        if self._options.normalise:
            steps.append(Normalise())
        return TextTower(load_transformer(self._transformer), steps)

    def architecture(self) -> Iterator[str | bytes]:
        """Return the folder's configuration, and the options."""
        yield self._options.architecture
        yield from contents(self._folder, "*.json")

    def recipe(self) -> Iterator[str | bytes]:
        """Return the folder's files, and the options."""
        yield repr(self._options)
        yield from contents(self._folder)

    def _preprocessing(self, config: Any) -> TextPreprocessing:
        stated = read_json(self._transformer / "sentence_bert_config.json")
        if stated.get("do_lower_case"):
            raise ConfigurationError(
                f"{self._folder} lowers texts before the tokenizer (do_lower_case), which is not"
                " supported; put a Lowercase normalizer into its tokenizer.json"
            )
        general = read_json(self._folder / "config_sentence_transformers.json")
        prompt = general.get("prompts", {}).get(general.get("default_prompt_name"), "")
        options = self._options
        if prompt and not options.prefix:
            options = Options(max_tokens=options.max_tokens, prefix=prompt)
        return text_preprocessing(self._transformer, config, options, stated.get("max_seq_length"))


def _modes(folder: Path) -> tuple[str, ...]:
    from export.encoders.pooling import MODES

    stated = read_json(folder / "config.json")
    found = stated.get("pooling_mode")
    if found is None:
        found = [mode for key, mode in _OLD_MODES.items() if stated.get(key)] or ["mean"]
    modes = (found,) if isinstance(found, str) else tuple(found)
    if not set(modes) <= MODES.keys() or not stated.get("include_prompt", True):
        raise ConfigurationError(f"{folder / 'config.json'} asks for pooling that is not supported")
    return modes


def _dense(folder: Path) -> torch.nn.Module:
    import torch

    from export.encoders.pooling import Dense

    stated = read_json(folder / "config.json")
    inputs, outputs = int(stated["in_features"]), int(stated["out_features"])
    name = str(stated.get("activation_function", "torch.nn.Tanh"))
    kind = getattr(torch.nn, name.rpartition(".")[2], None)
    # Named by a file, so nothing but torch's own classes may be meant.
    if not name.startswith("torch.nn.") or not isinstance(kind, type):
        raise ConfigurationError(
            f"{folder} asks for the activation {name!r}; only those of torch.nn are supported"
        )
    dense = Dense(
        inputs,
        outputs,
        kind(),
        bias=stated.get("bias", True),
        residual=stated.get("use_residual", False),
    )
    files = [folder / "model.safetensors", folder / "pytorch_model.bin"]
    dense.load_state_dict(read_state(next((file for file in files if file.is_file()), files[0])))
    return dense
