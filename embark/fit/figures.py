"""The figures of a report, each with its meaning. `report` computes them."""

from __future__ import annotations

from dataclasses import dataclass, field

from embark.fit.encoders import Encoders
from embark.fit.growth import Extrapolation
from embark.fit.replay import Bins
from embark.fit.returns import Returns
from embark.fit.sizing import Storage


@dataclass(frozen=True)
class Assumed:
    """What a log does not say.

    Attributes:
        encoders: their speed and number.
        storage: how vectors are kept.
        change_days: days between changes of the model.
        fill_hours: a new generation is to be filled in so many hours.
        wait_s: 99 of 100 new inputs are to have their vector within so many seconds.
        horizon_days: how far to look beyond the log.
    """

    encoders: Encoders
    storage: Storage
    change_days: float = 30.0
    fill_hours: float = 24.0
    wait_s: float = 60.0
    horizon_days: float = 30.0


@dataclass(frozen=True)
class Hits:
    """A span of the replay.

    Attributes:
        requests: in it.
        first_seen_share: of them, those whose input was never asked for before.
        hit_rate: of them, those answered with a vector.
    """

    requests: int
    first_seen_share: float
    hit_rate: float


@dataclass(frozen=True)
class Rates:
    """Requests and new inputs a second.

    Attributes:
        mean, peak: requests, over the log and in its busiest bin.
        new_mean: new inputs over the log, which begins with an empty archive.
        new_settled: new inputs in the last quarter of the log.
        new_busiest: new inputs in the busiest hour of the last quarter (of all of it, if shorter).
        bin_s: seconds of the bin of `peak`.
    """

    mean: float
    peak: float
    new_mean: float
    new_settled: float
    new_busiest: float
    bin_s: float


@dataclass(frozen=True)
class Queue:
    """Waiting for vectors.

    Attributes:
        deepest: most inputs queued or computed at one time, the cold start included.
        p50_s, p99_s, longest_s: time until a new input has its vector, in the last quarter; None
            where no input is new in it.
        cold_longest_s: the longest over the whole log.
    """

    deepest: int
    p50_s: float | None
    p99_s: float | None
    longest_s: float | None
    cold_longest_s: float


@dataclass(frozen=True)
class Change:
    """A change of the model at the beginning of the last quarter.

    Attributes:
        known: inputs that are recomputed.
        fill_s: seconds to fill the new generation beside the live one; no lookup is OOV for it.
        flushed_oov_share: OOV share in the hour after, if the archive were emptied instead.
        kept_oov_share: the same with the old generation live meanwhile.
        break_even_s: seconds between changes below which no encoder calls are saved.
        calls_per_request: encoder calls for each request, at the assumed interval.
    """

    known: int
    fill_s: float
    flushed_oov_share: float
    kept_oov_share: float
    break_even_s: float
    calls_per_request: float


@dataclass(frozen=True)
class Needs:
    """Replicas and bytes.

    Attributes:
        for_wait: replicas for the wished wait; None if no number is enough.
        for_fill: replicas for the wished fill time.
        inline: replicas that encode every request in the busiest bin; latency not considered.
        archive_bytes: at the end of the log, all copies.
        queue_bytes_per_s: Kafka's intake of new inputs in the busiest hour, all copies.
    """

    for_wait: int | None
    for_fill: int
    inline: int
    archive_bytes: float
    queue_bytes_per_s: float


@dataclass(frozen=True)
class Beyond:
    """An extrapolation.

    Attributes:
        extrapolation: the law and its error on the log itself.
        distinct: inputs after the horizon.
        new_share: share of new inputs among requests then.
        archive_bytes: after the horizon, all copies.
    """

    extrapolation: Extrapolation
    distinct: float
    new_share: float
    archive_bytes: float


@dataclass(frozen=True)
class Report:
    """Everything about one log; see the classes above.

    Attributes:
        hour, day: the first hour and day after a cold start; None where the log is shorter.
        asked_again: time from an input's first request to the next one.
        scored_again: time from an input's first request to its first hit.
        once_share: inputs with a single request in the log.
    """

    assumed: Assumed
    requests: int
    distinct: int
    duration_s: float
    mean_input_bytes: float
    once_share: float
    rates: Rates
    hour: Hits | None
    day: Hits | None
    settled: Hits
    asked_again: Returns = field(repr=False)
    scored_again: Returns = field(repr=False)
    queue: Queue
    change: Change
    needs: Needs
    beyond: tuple[Beyond, Beyond]
    bins: Bins = field(repr=False)
