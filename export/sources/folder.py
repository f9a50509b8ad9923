"""A folder on disk as `save_pretrained` or sentence-transformers writes it.

Only its configuration and weights are read; code in it is never run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embark.errors import ConfigurationError
from export.encoders.base import Encoder
from export.sources.options import Options

if TYPE_CHECKING:
    import torch

_MODULES_FILE = "modules.json"
_IMAGE_FILE = "preprocessor_config.json"
_TOKENIZER_FILE = "tokenizer.json"
_ERRORS_ONLY = 40


def open_folder(folder: Path, options: Options) -> Encoder:
    """Return the encoder in a folder.

    Raises:
        ConfigurationError: it is none, or needs what is not supported.
    """
    from export.sources.sentence_folder import SentenceFolder
    from export.sources.text_folder import TextFolder
    from export.sources.vision_folder import VisionFolder

    if (folder / _MODULES_FILE).is_file():
        return SentenceFolder(folder, options)
    if not (folder / "config.json").is_file():
        raise ConfigurationError(
            f"{folder} has neither modules.json nor config.json; give a folder that transformers or"
            " sentence-transformers saved"
        )
    if (folder / _TOKENIZER_FILE).is_file():
        return TextFolder(folder, options)
    if (folder / _IMAGE_FILE).is_file():
        return VisionFolder(folder, options)
    raise ConfigurationError(
        f"{folder} has neither {_TOKENIZER_FILE}, for texts, nor {_IMAGE_FILE}, for images"
    )


def read_json(path: Path) -> Any:
    """Return a JSON file's content, an empty dict if there is no file.

    Raises:
        ConfigurationError: it is damaged.
    """
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ConfigurationError(f"{path} is not valid JSON: {error}") from None


def load_config(folder: Path) -> Any:
    """Return the `transformers` configuration of a folder.

    Raises:
        ConfigurationError: the library knows no such model.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise ConfigurationError(
            f"{folder} has no model that transformers knows: {error}"
        ) from None


def load_model(folder: Path) -> tuple[torch.nn.Module, set[str]]:
    """Return a folder's network with its weights in float32, and what the weights lacked.

    Raises:
        ConfigurationError: it cannot be loaded without running code of the folder.
    """
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(_ERRORS_ONLY)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        module, information = AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:
        raise ConfigurationError(f"{folder} cannot be loaded: {error}") from error
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    return module.eval(), set(information["missing_keys"])


def check_complete(folder: Path, missing: set[str]) -> None:
    """Return if a network lacks no weights.

    Raises:
        ConfigurationError: some would be random.
    """
    if missing:
        named = ", ".join(sorted(missing)[:3])
        raise ConfigurationError(
            f"{folder} lacks {len(missing)} weights of the model ({named}, ...); they would be"
            " random"
        )


def contents(folder: Path, pattern: str = "*") -> Iterator[str | bytes]:
    """Return names and contents of the files below a folder, but hidden ones."""
    for path in sorted(folder.rglob(pattern)):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            yield str(name)
            yield path.read_bytes()
