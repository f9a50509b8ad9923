"""Filling the archive with the items' vectors, and reading them back. Ends where it was stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from embark.client import Client, Sendable
from embark.errors import Unavailable
from embark.keys import Key, parse_key
from examples.ctr.deployment import console

_CHUNK = 100
_POLL_S = 0.5
_STALLED_S = 180.0


def serves(client: Client, model: str, generation: str, seconds: float = 60.0) -> None:
    """Return when a generation is live.

    Raises:
        Unavailable: it is not in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        live = {one["name"]: one["generation"] for one in client.models()}
        if live.get(model) == generation:
            return
        time.sleep(_POLL_S)
    raise Unavailable(
        f"{model} {generation} is not live after {seconds:.0f} s: is it exported to the repository"
        " that this service's Triton reads?"
    )


def fill(client: Client, model: str, count: int, made: Callable[[int], Sendable]) -> list[Key]:
    """Have the vectors of inputs computed, and return the inputs' keys when all are there.

    Args:
        client: of the service.
        model: EmbArk's name.
        count: how many inputs.
        made: returns an input by number; what the archive has already is not computed again.

    Raises:
        Unavailable: for `_STALLED_S` nothing was computed, or an input failed.
    """
    keys: list[Key] = []
    columns = (TextColumn(f"{model:14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(model, total=count)
        for start in range(0, count, _CHUNK):
            inputs = [made(number) for number in range(start, min(start + _CHUNK, count))]
            keys += _queued(client, model, inputs)
        missing, since = list(keys), time.monotonic()
        while missing:
            left = _without_hits(client, model, missing)
            if len(left) < len(missing):
                since = time.monotonic()
            elif time.monotonic() - since > _STALLED_S:
                raise Unavailable(
                    f"{model}: {len(left)} of {count} vectors are missing, and none came for"
                    f" {_STALLED_S:.0f} s; `embark doctor` and the logs say why"
                )
            missing = left
            progress.update(task, completed=count - len(missing))
            time.sleep(_POLL_S if missing else 0)
    return keys


def vectors(client: Client, model: str, keys: Sequence[Key]) -> npt.NDArray[np.float16]:
    """Return archived vectors, float16 (keys, dimension): what the archive stores."""
    parts = [
        client.lookup(keys[start : start + _CHUNK], model, on_miss="skip").embeddings
        for start in range(0, len(keys), _CHUNK)
    ]
    return np.concatenate(parts).astype(np.float16)


def _queued(client: Client, model: str, inputs: Sequence[Sendable]) -> list[Key]:
    keys = client.prefetch(inputs, model)
    if None in keys:
        raise Unavailable(f"{model} refuses input {keys.index(None)} of a chunk as invalid")
    return [parse_key(key) for key in keys if key is not None]


def _without_hits(client: Client, model: str, keys: Sequence[Key]) -> list[Key]:
    """Return the keys without a vector; does not ask beyond the first chunk that has none."""
    left: list[Key] = []
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        items = client.lookup(chunk, model, on_miss="skip").items
        failed = next((one for one in items if one.status in ("failed", "invalid")), None)
        if failed is not None:
            raise Unavailable(f"{model} cannot embed an input: {failed.reason}")
        absent = [key for key, one in zip(chunk, items, strict=True) if one.status != "hit"]
        left += absent
        if len(absent) == len(chunk):
            return left + list(keys[start + _CHUNK :])
    return left
