"""Which generation of a model is live, and what was decided about the others.

One record a model in the ledger, written by `embark models`, followed by every gateway and consumer
(`embark.following`). A change is one write, so that all see it whole. Two operators who decide
about one model in the same instant: the later word stands. Not for vectors.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from embark.archive import now_ms
from embark.errors import BadRequest
from embark.models import Catalogue, Exported, Model, Vector
from embark.store.ledger import ID_BYTES, Kind, Ledger

_ID = bytes(ID_BYTES)
_REMEMBERED_CHANGES = 50


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Change(_Record):
    """Something that was decided.

    Attributes:
        action: `promoted`, `rolled back`, `retired`, `restored`, `oov set`, `paused`, `resumed`.
        generation: about which.
        at_ms: when, milliseconds since 1970.
        note: more, for people.
    """

    action: str
    generation: str
    at_ms: int
    note: str = ""


class Oov(_Record):
    """An out-of-vocabulary vector that was set after the export.

    Attributes:
        numbers: base64 of float32, little-endian.
        origin: where it is from, for people.
    """

    numbers: str
    origin: str = ""


class State(_Record):
    """What was decided about a model.

    Attributes:
        live: the generation that lookups are answered with; None for the one exported first.
        previous: the one that was live before, to roll back to.
        retired: generations that are no longer served.
        paused: generations whose filling shall wait.
        oov: by generation.
        changes: the latest, oldest first.
    """

    live: str | None = None
    previous: str | None = None
    retired: tuple[str, ...] = ()
    paused: tuple[str, ...] = ()
    oov: Mapping[str, Oov] = Field(default_factory=dict)
    changes: tuple[Change, ...] = ()


class Generations:
    """The decisions about all models. Safe for many threads.

    Args:
        ledger: where they are kept.
        clock_ms: milliseconds since 1970.
    """

    def __init__(self, ledger: Ledger, clock_ms: Callable[[], int] = now_ms) -> None:
        self._ledger: Final = ledger
        self._clock_ms: Final = clock_ms

    def state(self, model: str) -> State:
        """Return what was decided about a model.

        Raises:
            ArchiveUnavailable: it cannot be read.
        """
        (value,) = self._ledger.get(model, Kind.STATE, [_ID])
        return State() if value is None else State.model_validate_json(value)

    def states(self, models: Iterable[str]) -> dict[str, State]:
        """Return what was decided about each model.

        Raises:
            ArchiveUnavailable: it cannot be read.
        """
        return {model: self.state(model) for model in models}

    def promote(self, model: Model, live: str, note: str = "") -> None:
        """Make a generation live; `live` is the one that is now."""
        state = self.state(model.name)
        changed = {"live": model.generation, "previous": live}
        self._save(model.name, state, changed, self._change("promoted", model.generation, note))

    def rollback(self, model: str) -> str:
        """Make the previous generation live again, and return it.

        Raises:
            BadRequest: there is none.
        """
        state = self.state(model)
        if state.live is None:
            raise BadRequest(f"{model} was never promoted, so there is nothing to roll back to")
        if state.previous is None:
            raise BadRequest(
                f"the generation that was live before {model} {state.live} is retired, so there is"
                " nothing to roll back to; `embark models promote` makes another one live"
            )
        if state.previous in state.retired:
            raise BadRequest(
                f"{model}'s previous generation {state.previous} is retired; export it again"
            )
        changed = {"live": state.previous, "previous": state.live}
        self._save(model, state, changed, self._change("rolled back", state.previous))
        return state.previous

    def retire(self, model: str, generation: str) -> None:
        """Have a generation served no more."""
        state = self.state(model)
        changed: dict[str, object] = {
            "retired": _with(state.retired, generation),
            "paused": _without(state.paused, generation),
            "oov": {name: oov for name, oov in state.oov.items() if name != generation},
        }
        if state.previous == generation:
            changed["previous"] = None
        self._save(model, state, changed, self._change("retired", generation))

    def restore(self, model: str, generation: str) -> None:
        """Have a retired generation served again, as after a new export of it."""
        state = self.state(model)
        changed = {"retired": _without(state.retired, generation)}
        self._save(model, state, changed, self._change("restored", generation))

    def pause(self, model: str, generation: str, *, paused: bool) -> None:
        """Have the filling of a generation wait, or go on."""
        state = self.state(model)
        change = _with if paused else _without
        changed = {"paused": change(state.paused, generation)}
        action = "paused" if paused else "resumed"
        self._save(model, state, changed, self._change(action, generation))

    def set_oov(self, model: Model, vector: Vector, origin: str) -> None:
        """Set the out-of-vocabulary vector of a generation.

        Raises:
            BadRequest: it is not of shape (dimension,), or has a number that cannot be stored.
        """
        if vector.shape != (model.facts.dimension,):
            raise BadRequest(
                f"the OOV vector of {model.name} has shape ({model.facts.dimension},), not"
                f" {vector.shape}"
            )
        with np.errstate(over="ignore"):
            finite = np.isfinite(vector.astype(model.facts.dtype)).all()
        if not finite:
            raise BadRequest(f"the vector has numbers that {model.facts.dtype} cannot hold")
        state = self.state(model.name)
        numbers = base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
        oov = {**state.oov, model.generation: Oov(numbers=numbers, origin=origin)}
        change = self._change("oov set", model.generation, origin)
        self._save(model.name, state, {"oov": oov}, change)

    def _change(self, action: str, generation: str, note: str = "") -> Change:
        return Change(action=action, generation=generation, at_ms=self._clock_ms(), note=note)

    def _save(
        self, model: str, state: State, changed: Mapping[str, object], change: Change
    ) -> None:
        changes = (*state.changes, change)[-_REMEMBERED_CHANGES:]
        saved = state.model_copy(update={**changed, "changes": changes})
        self._ledger.put(model, Kind.STATE, {_ID: saved.model_dump_json().encode()})


def assemble(exported: Exported, states: Mapping[str, State]) -> Catalogue:
    """Return the catalogue of what is exported and what was decided.

    A model whose live generation is not in this repository is served with another one, the first
    that is not retired: see `missing`.
    """
    live: dict[str, Model] = {}
    others: list[Model] = []
    for name, models in exported.items():
        state = states.get(name, State())
        served = [_with_oov(one, state) for one in models if one.generation not in state.retired]
        if not served:
            continue
        chosen = next((one for one in served if one.generation == state.live), served[0])
        live[name] = chosen
        others += [one for one in served if one is not chosen]
    return Catalogue(live, others)


def missing(exported: Exported, states: Mapping[str, State]) -> dict[str, str]:
    """Return the live generations, by model, that are not in this repository."""
    return {
        name: state.live
        for name, state in states.items()
        if state.live is not None
        and state.live not in {one.generation for one in exported.get(name, ())}
    }


def _with_oov(model: Model, state: State) -> Model:
    oov = state.oov.get(model.generation)
    if oov is None:
        return model
    numbers = np.frombuffer(base64.b64decode(oov.numbers), "<f4")
    if numbers.shape != (model.facts.dimension,):
        return model
    vector = numbers.astype(model.facts.dtype)
    vector.flags.writeable = False
    return Model(model.facts, vector)


def _with(names: Sequence[str], name: str) -> tuple[str, ...]:
    return (*_without(names, name), name)


def _without(names: Sequence[str], name: str) -> tuple[str, ...]:
    return tuple(one for one in names if one != name)
