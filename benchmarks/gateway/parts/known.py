"""What new inputs cost: 100 texts of which 0 to 100 % are known, all others were never asked.

EmbArk answers what is new with the out-of-vocabulary vector and queues it; Redis and a lookup by
key only say that it is missing; the others compute it before they answer. No consumer runs: what is
measured is what the caller waits for, not what the encoder does afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks.gateway.clients import Call
from benchmarks.gateway.options import Options
from benchmarks.gateway.parts.lookups import FLOORS, HOT
from benchmarks.gateway.peers.base import OpenAiSubject, Subject
from benchmarks.gateway.peers.embark import start_gateway
from benchmarks.gateway.peers.floor import Floor, start_floor
from benchmarks.gateway.peers.triton import TritonGrpc, TritonHttp
from benchmarks.gateway.place import Place
from benchmarks.gateway.results import Results
from benchmarks.gateway.subjects import (
    Calls,
    checked,
    embark_at,
    fill_archive,
    note,
    start_peers,
    take_turns,
)
from benchmarks.gateway.workload import Batch, Inputs, model_of
from embark.inputs import Modality
from embark.settings import GatewaySettings

NAME = "known"
SIZE = 100
PERCENTS = (0, 20, 80, 95, 100)

_KNOWN = 500
_REQUESTS = 150
_QUICK_REQUESTS = 20
# Each gateway process has a memory of its own, and a new connection may reach any.
_CONNECTIONS = 8
# Float32 against float16, and one runtime against another, differ by far less.
_SAME_COSINE = 0.99


def measure(place: Place, options: Options) -> Results:
    """Measure every share of known inputs, one client."""
    results = Results(NAME, options.rounds)
    settings = GatewaySettings()
    inputs = Inputs(model_of(Modality.TEXT), _KNOWN)
    data = place.folder / "data"
    fill_archive(data, inputs.model, inputs.all.digests)
    forms = embark_at(start_gateway(place, "gateway", data), HOT)
    floor = Floor(FLOORS["keys"], start_floor(place, settings), forms["keys"])
    subjects: list[Subject] = [floor, *forms.values()]
    if options.peers:
        peers = start_peers(place, results, [inputs], settings)
        # What Triton computes takes the same over HTTP.
        subjects += [one for one in peers if not isinstance(one, TritonHttp)]
    subjects = checked(results, subjects, inputs.batch(SIZE))
    for subject in subjects:
        place.report(f"warming {subject.name}")
        _warm(place, subject, inputs)
    rng = np.random.default_rng(0)
    _compare_mixed(results, subjects, inputs.mixed(SIZE, SIZE // 2, rng))
    requests = _QUICK_REQUESTS if options.quick else _REQUESTS
    for percent in PERCENTS:
        known = SIZE * percent // 100
        calls = {one.name: _fresh(one, inputs, known, requests, rng) for one in subjects}
        take_turns(place, results, {"known %": percent}, calls, options)
    return results


def _warm(place: Place, subject: Subject, inputs: Inputs) -> None:
    batches = inputs.known_batches(SIZE)
    call = replace(subject.call(batches), warm_up=len(batches))
    for _ in range(_CONNECTIONS if "EmbArk" in subject.name else 1):
        place.clients.warm([call])


def _compare_mixed(results: Results, subjects: Sequence[Subject], batch: Batch) -> None:
    """Note who answers a batch, half of it known, with a vector that is not the input's own."""
    encoder = next((one for one in subjects if isinstance(one, TritonGrpc)), None)
    asked = [one for one in subjects if isinstance(one, OpenAiSubject)]
    if encoder is None or not asked:
        return
    expected = encoder.embed(batch)
    for one in asked:
        found = one.rows(one.ask(batch))
        near = np.einsum("ij,ij->i", found, expected)
        near /= np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
        wrong = int((near < _SAME_COSINE).sum())
        if wrong:
            said = f"{wrong} of its vectors are not the inputs' own"
            note(
                results, f"{one.name} answers a batch of {SIZE}, half of it known, wrongly: {said}"
            )


def _fresh(
    subject: Subject, inputs: Inputs, known: int, requests: int, rng: np.random.Generator
) -> Calls:
    def calls(number: int) -> list[Call]:
        batches = [inputs.mixed(SIZE, known, rng) for _ in range(requests)]
        return [replace(subject.call(batches), repeats=False, warm_up=1)]

    return calls
