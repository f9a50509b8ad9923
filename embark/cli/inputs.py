"""The inputs that commands take from the command line, and the model of each."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from embark.client import Client, ImageUrl, Sendable
from embark.config import load
from embark.errors import BadRequest, ConfigurationError
from embark.inputs import Modality
from embark.keys import Key, parse_key
from embark.listening import gateway_url
from embark.settings import Settings

_CHUNK = 500

ListModels = Callable[[], Sequence[Mapping[str, Any]]]


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Declare the inputs."""
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="texts")
    parser.add_argument("--image", action="append", type=Path, default=[], help="image file")
    parser.add_argument("--image-url", action="append", default=[], help="URL of an image")
    parser.add_argument("--key", action="append", default=[], help="printed key")
    parser.add_argument(
        "--file",
        help="text file with a text a line, or, if --model embeds images, with an image's URL a"
        " line; - for standard input",
    )
    parser.add_argument("--model", help="model; may be left out where only one fits")


def add_service_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the service's address and `--json`."""
    parser.add_argument("--url", help="the service (default: as configured, on this machine)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def open_client(options: argparse.Namespace) -> Client:
    """Return a client of the service that was named or configured."""
    return client_of(load().settings, options.url)


def client_of(settings: Settings, url: str | None = None, **options: Any) -> Client:
    """Return a client with the configured key, of a service or of the configured one."""
    return Client(
        url or gateway_url(settings.gateway),
        api_key=settings.client.api_key.get_secret_value() or None,
        authority=settings.client.authority,
        **options,
    )


def chunks(
    options: argparse.Namespace, list_models: ListModels
) -> Iterator[list[tuple[str, Sendable]]]:
    """Yield the inputs with the model of each, a few hundred at a time.

    Args:
        options: as `add_inputs` declares them.
        list_models: returns the models, as `Client.models` does.
    """
    models = _Models(list_models, options.model)
    found = ((models.of(one), one) for one in _inputs(options, models))
    empty = True
    while chunk := list(itertools.islice(found, _CHUNK)):
        empty = False
        yield chunk
    if empty:
        raise BadRequest("no input: give a TEXT, --image, --image-url, --key or --file")


def short(sent: Sendable, most: int = 40) -> str:
    """Return what names an input in a table, of at most `most` letters, printable anywhere."""
    text = f"{len(sent)} bytes" if isinstance(sent, bytes) else str(sent)
    # An argument that is no UTF-8 has lone surrogates.
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= most else f"{text[: most - 1]}…"


def by_model(chunk: Iterable[tuple[str, Sendable]]) -> dict[str, list[int]]:
    """Return the positions of a chunk's inputs by model."""
    positions: dict[str, list[int]] = {}
    for position, (model, _) in enumerate(chunk):
        positions.setdefault(model, []).append(position)
    return positions


def _inputs(options: argparse.Namespace, models: _Models) -> Iterator[Sendable]:
    yield from options.texts
    if options.file:
        lines = _lines(options.file)
        yield from map(ImageUrl, lines) if models.names_images() else lines
    yield from options.image
    yield from map(ImageUrl, options.image_url)
    yield from map(parse_key, options.key)


def _lines(name: str) -> Iterator[str]:
    try:
        with nullcontext(sys.stdin) if name == "-" else Path(name).open(encoding="utf-8") as lines:
            for line in lines:
                yield line.rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{name} cannot be read: {error}") from None


class _Models:
    """Chooses the model of an input: the one named, else the only one of its modality."""

    def __init__(self, list_models: ListModels, named: str | None) -> None:
        self._list_models = list_models
        self._named = named
        self._of_modality: dict[str, list[str]] | None = None

    def names_images(self) -> bool:
        """Whether a model is named, and embeds images."""
        images = self._by_modality().get(Modality.IMAGE.value, []) if self._named else []
        return self._named in images

    def of(self, one: Sendable) -> str:
        """Return the name of an input's model."""
        if isinstance(one, Key):
            return one.model
        if self._named is not None:
            return self._named
        modality = Modality.TEXT if isinstance(one, str) else Modality.IMAGE
        fitting = self._by_modality().get(modality.value, [])
        if len(fitting) != 1:
            raise BadRequest(
                f"choose a {modality.value} model with --model: {', '.join(fitting) or 'none'}"
            )
        return fitting[0]

    def _by_modality(self) -> Mapping[str, Sequence[str]]:
        if self._of_modality is None:
            self._of_modality = {}
            for model in self._list_models():
                self._of_modality.setdefault(model["modality"], []).append(model["name"])
        return self._of_modality
