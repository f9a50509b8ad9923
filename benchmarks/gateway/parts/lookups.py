"""Lookups of known inputs: sizes, modalities, forms, one client and eight, beside all others."""

from __future__ import annotations

from benchmarks.gateway.options import Options
from benchmarks.gateway.peers.base import Subject
from benchmarks.gateway.peers.embark import NO_L1, start_gateway
from benchmarks.gateway.peers.floor import Floor, start_floor, start_gunicorn_floor
from benchmarks.gateway.place import Place
from benchmarks.gateway.results import Case, Results, values
from benchmarks.gateway.rounds import spread
from benchmarks.gateway.subjects import (
    checked,
    embark_at,
    fill_archive,
    note,
    repeated,
    start_peers,
    take_turns,
)
from benchmarks.gateway.workload import Batch, Inputs, model_of
from embark.inputs import Modality
from embark.settings import GatewaySettings

NAME = "lookups"
HOT, COLD = "hot", "cold"
FLOORS = {"keys": "bare Flask, bytes of keys", "json": "bare Flask, bytes of JSON"}
GUNICORN_FLOOR = "bare Flask on gunicorn, bytes of keys"

_SIZES = (1, 10, 100, 1000)
_QUICK_SIZES = (1, 100)
_CLIENTS = (1, 8)
_QUICK_CLIENTS = (1, 2)
# Images are computed at some ten a second, by each peer that computes.
_MOST_COMPUTED_IMAGES = 100
_MOST_MS = 250


def measure(place: Place, options: Options) -> Results:
    """Measure every size, modality and number of clients."""
    results = Results(NAME, options.rounds)
    sizes = _QUICK_SIZES if options.quick else _SIZES
    numbers = _QUICK_CLIENTS if options.quick else _CLIENTS
    settings = GatewaySettings()
    every = {modality: Inputs(model_of(modality), sizes[-1]) for modality in Modality}
    data = place.folder / "data"
    for inputs in every.values():
        fill_archive(data, inputs.model, inputs.all.digests)
    subjects = _embark(place, settings)
    if options.peers:
        subjects += start_peers(place, results, list(every.values()), settings)
    for modality, inputs in every.items():
        good = checked(results, subjects, inputs.batch(sizes[0]))
        for size in sizes:
            some = _within(results, good, inputs.batch(size))
            for clients in numbers:
                calls = {one.name: repeated(one, inputs.batch(size), clients) for one in some}
                case = {"modality": modality.value, "keys": size, "clients": clients}
                take_turns(place, results, case, calls, options)
                some = _quick_enough(results, some, case)
    return results


def _embark(place: Place, settings: GatewaySettings) -> list[Subject]:
    data = place.folder / "data"
    hot = embark_at(start_gateway(place, "gateway-hot", data), HOT)
    cold = embark_at(start_gateway(place, "gateway-cold", data, NO_L1), COLD)
    port = start_floor(place, settings)
    floors = [Floor(name, port, hot[form]) for form, name in FLOORS.items()]
    floors.append(Floor(GUNICORN_FLOOR, start_gunicorn_floor(place, settings), hot["keys"]))
    return [*floors, *hot.values(), *cold.values()]


def _within(results: Results, subjects: list[Subject], batch: Batch) -> list[Subject]:
    """Return the subjects for which a batch is not too much to compute first."""
    few = batch.modality is Modality.TEXT or len(batch.payloads) <= _MOST_COMPUTED_IMAGES
    if few:
        return subjects
    left_out = [one for one in subjects if one.name.startswith("Triton")]
    for one in left_out:
        note(results, f"{one.name}: {len(batch.payloads)} images would take minutes to compute")
    return [one for one in subjects if one not in left_out]


def _quick_enough(results: Results, subjects: list[Subject], case: Case) -> list[Subject]:
    """Return EmbArk and the subjects that more clients can ask within the time of a run."""
    quick = []
    for one in subjects:
        row = results.row(one.name, **case)
        if row is None:
            continue
        took_ms = spread(values(row.slices)).median
        if took_ms <= _MOST_MS or one.name.startswith(("EmbArk", "bare")):
            quick.append(one)
        else:
            note(
                results,
                f"{one.name}, {case['keys']} {case['modality']} inputs, more clients: one client's"
                f" request takes {took_ms:.0f} ms",
            )
    return quick
