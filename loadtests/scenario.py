"""A scenario: how many requests arrive when, for what, and what happens meanwhile.

Not for when exactly each arrives (`loadtests.arrivals`) and which items it names
(`loadtests.catalogue`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from embark.errors import ConfigurationError
from loadtests.toml_file import Section, parse

SHIPPED: Final = Path(__file__).parent / "scenarios"


class Stage(Section):
    """A stretch of time in which the rate goes in a straight line; several make ramp and peak.

    Attributes:
        seconds: how long it lasts.
        rate: requests per second at its beginning.
        to: requests per second at its end; None for the same.
    """

    seconds: float = Field(gt=0)
    rate: float = Field(ge=0)
    to: float | None = Field(None, ge=0)

    @property
    def last_rate(self) -> float:
        """Requests per second at its end."""
        return self.rate if self.to is None else self.to


class Arrivals(Section):
    """When requests are sent, whatever became of those before.

    Attributes:
        process: `poisson`, as from many users who do not know of each other, or `constant`.
        max_in_flight: most requests of one process without an answer; one more is not sent and
            counts as an error and as slow.
        timeout_ms: after which a request counts as an error.
        stages: one after the other.
    """

    process: Literal["poisson", "constant"] = "poisson"
    max_in_flight: int = Field(256, ge=1)
    timeout_ms: float = Field(2000, gt=0)
    stages: tuple[Stage, ...] = Field(min_length=1)

    @property
    def seconds(self) -> float:
        """How long the whole lasts."""
        return sum(stage.seconds for stage in self.stages)


class Items(Section):
    """What is asked for.

    Attributes:
        size: items that can be asked at any moment.
        zipf: exponent of their popularity; the item of rank r is asked in proportion to r^-zipf.
        new_per_second: new items, each of which takes the rank of an old one, drawn evenly.
        warm: whether the vectors of the first `size` items are there before the test begins.
        warm_seconds: longest that is waited for that.
    """

    size: int = Field(1000, ge=1)
    zipf: float = Field(1.0, ge=0)
    new_per_second: float = Field(0, ge=0)
    warm: bool = True
    warm_seconds: float = Field(300, gt=0)


class _Weighted(Section):
    weight: float = Field(1, gt=0)
    items: int = Field(10, ge=1, le=1000)
    name: str = ""

    @property
    def label(self) -> str:
        """What objectives and reports call it."""
        kind: str = getattr(self, "kind")  # noqa: B009 - each subclass has its own literal
        return self.name or kind


class LookupCall(_Weighted):
    """POST /v1/lookup for `items` items, in each of `models`."""

    kind: Literal["lookup"]
    models: tuple[str, ...] = Field(("minilm",), min_length=1)


class PrefetchCall(_Weighted):
    """POST /v1/prefetch for `items` items never seen before, in each of `models`."""

    kind: Literal["prefetch"]
    models: tuple[str, ...] = Field(("minilm",), min_length=1)


class ScoreCall(_Weighted):
    """POST /score of a scoring service: one of `users` users and `items` candidates."""

    kind: Literal["score"]
    users: int = Field(100, ge=1)


Call = Annotated[LookupCall | PrefetchCall | ScoreCall, Field(discriminator="kind")]


class _Event(Section):
    at: float = Field(ge=0, description="Seconds since the beginning.")
    name: str = Field(min_length=1)


class FlashEvent(_Event):
    """A new item that at once takes `share` of all that is asked, for `seconds`."""

    kind: Literal["flash"]
    share: float = Field(gt=0, le=1)
    seconds: float = Field(gt=0)


class BackfillEvent(_Event):
    """`items` new items queued as bulk work, in requests of `batch`."""

    kind: Literal["backfill"]
    items: int = Field(ge=1)
    batch: int = Field(500, ge=1, le=1000)
    models: tuple[str, ...] = Field(("minilm",), min_length=1)


class CommandEvent(_Event):
    """A shell command that breaks something, or mends it.

    Attributes:
        command: None when only the caller can know it; then it has to be given by name.
    """

    kind: Literal["command"]
    command: str | None = None


Event = Annotated[FlashEvent | BackfillEvent | CommandEvent, Field(discriminator="kind")]


class Scenario(Section):
    """A whole load test; see docs/loadtests.md.

    Attributes:
        seed: of arrivals, items and texts; the same seed sends the same requests.
    """

    name: str
    seed: int = Field(1, ge=0)
    arrivals: Arrivals
    catalogue: Items = Items()
    mix: tuple[Call, ...] = Field(min_length=1)
    event: tuple[Event, ...] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> Scenario:
        labels = [call.label for call in self.mix]
        if repeated := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"two calls of the mix are named {repeated[0]!r}; give them a name")
        for call in self.mix:
            if call.items > self.catalogue.size:
                raise ValueError(
                    f"{call.label} asks {call.items} distinct items of a catalogue of"
                    f" {self.catalogue.size}"
                )
        for event in self.event:
            if event.at >= self.arrivals.seconds:
                raise ValueError(
                    f"event {event.name!r} at {event.at:g} s is after the end,"
                    f" {self.arrivals.seconds:g} s"
                )
        if not any(stage.rate or stage.last_rate for stage in self.arrivals.stages):
            raise ValueError("arrivals.stages: every rate is 0, so nothing is sent")
        return self

    @property
    def models(self) -> tuple[str, ...]:
        """Models that the generator itself asks, in order and once each."""
        named = [one.models for one in (*self.mix, *self.event) if hasattr(one, "models")]
        return tuple(dict.fromkeys(name for names in named for name in names))


def read_scenario(name: str) -> str:
    """Return the text of a scenario file: a path, or the name of a shipped one.

    Raises:
        ConfigurationError: there is no such file.
    """
    path = Path(name) if name.endswith(".toml") else SHIPPED / f"{name}.toml"
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        shipped = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.toml")))
        raise ConfigurationError(
            f"scenario {path} cannot be read: {error}; shipped are: {shipped}"
        ) from None


def parse_scenario(text: str, name: str, commands: dict[str, str] | None = None) -> Scenario:
    """Return the scenario that a file's text holds.

    Args:
        text: TOML.
        name: what errors call it.
        commands: shell commands by the name of the event that runs them.

    Raises:
        ConfigurationError: it is wrong, an event has no command, or a command no event.
    """
    scenario = parse(text, Scenario, name)
    given = dict(commands or {})
    events = [
        event.model_copy(update={"command": given.pop(event.name, event.command)})
        if isinstance(event, CommandEvent)
        else event
        for event in scenario.event
    ]
    if given:
        raise ConfigurationError(f"{name} has no command event {', '.join(map(repr, given))}")
    for event in events:
        if isinstance(event, CommandEvent) and event.command is None:
            raise ConfigurationError(
                f"{name}: event {event.name!r} needs a command; give --on-event"
                f" {event.name}='COMMAND'"
            )
    return scenario.model_copy(update={"event": tuple(events)})
