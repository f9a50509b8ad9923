"""The subjects of a run: started one after another; one that cannot be is noted with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from benchmarks.gateway.clients import Call, ClientFailed
from benchmarks.gateway.options import Options
from benchmarks.gateway.peers.base import HttpSubject, Subject
from benchmarks.gateway.peers.embark import EmbArkInputs, EmbArkJson, EmbArkKeys
from benchmarks.gateway.peers.infinity import start_infinity
from benchmarks.gateway.peers.langchain import LangChain
from benchmarks.gateway.peers.litellm import start_litellm
from benchmarks.gateway.peers.redis import start_redis
from benchmarks.gateway.peers.triton import TritonGrpc, TritonHttp, start_triton
from benchmarks.gateway.place import Place, Stopped
from benchmarks.gateway.results import Case, Results
from benchmarks.gateway.rounds import Slice, alternate
from benchmarks.gateway.workload import Batch, Inputs, fill, vectors_of
from embark.backends import ARCHIVE_FOLDER
from embark.inputs import Modality
from embark.models import Model
from embark.settings import GatewaySettings
from embark.store.lmdb import LmdbStore

_MAX_BYTES = 64 * 2**30

Calls = Callable[[int], Sequence[Call]]
"""What each client sends in a round, counted from 0."""

T = TypeVar("T")


def embark_at(port: int, suffix: str) -> dict[str, HttpSubject]:
    """Return the forms in which a gateway is asked, by form.

    Args:
        port: the gateway's.
        suffix: end of their names: which gateway it is.
    """
    every = frozenset(Modality)
    return {
        "keys": EmbArkKeys(f"EmbArk, keys, {suffix}", port, every),
        "inputs": EmbArkInputs(f"EmbArk, inputs, binary answer, {suffix}", port, every),
        "json": EmbArkJson(f"EmbArk, inputs, JSON, {suffix}", port, every),
    }


def start_peers(
    place: Place, results: Results, inputs: Sequence[Inputs], settings: GatewaySettings
) -> list[Subject]:
    """Start everything that EmbArk is compared with, and return what could be started."""
    vectors = {
        inp.model.name.encode() + b":" + digest: vector
        for inp in inputs
        for digest, vector in vectors_of(inp).items()
    }
    found: list[Subject] = []
    found += _attempt(results, "Redis", lambda: [start_redis(place, settings, vectors)])
    found += _attempt(results, "infinity-emb", lambda: [start_infinity(place)])
    triton = _attempt(results, "Triton", lambda: [start_triton(place)])
    if triton:
        (served,) = triton
        for form in (True, False):
            found += [TritonGrpc(served, by_input=form), TritonHttp(served, by_input=form)]
        found += _attempt(results, "LangChain", lambda: [LangChain(served)])
        found += _attempt(results, "LiteLLM", lambda: [start_litellm(place, served)])
    return found


def fill_archive(data: Path, model: Model, digests: Iterable[bytes]) -> None:
    """Write a vector for each digest into the embedded archive of a data folder."""
    store = LmdbStore(data / ARCHIVE_FOLDER, _MAX_BYTES, lambda model: False)
    try:
        fill(store, model, digests)
    finally:
        store.close()


def checked(results: Results, subjects: Iterable[Subject], batch: Batch) -> list[Subject]:
    """Return the subjects that answer a known batch in full; the others are noted."""
    good: list[Subject] = []
    for subject in subjects:
        if batch.modality not in subject.modalities:
            continue
        good += _attempt(results, subject.name, partial(_checked, subject, batch))
    return good


def take_turns(
    place: Place, results: Results, case: Case, subjects: Mapping[str, Calls], options: Options
) -> None:
    """Measure subjects in one case, in alternated rounds; one that fails is noted."""

    def take(name: str, number: int) -> Slice | None:
        try:
            return place.clients.measure(subjects[name](number), options.seconds)
        except ClientFailed as error:
            described = ", ".join(f"{value} {key}" for key, value in case.items())
            note(results, f"{name}, {described}: {error}")
            return None

    place.report(" ".join(f"{key}={value}" for key, value in case.items()))
    results.add(case, alternate(list(subjects), options.rounds, take))


def repeated(subject: Subject, batch: Batch, clients: int) -> Calls:
    """Return calls with which each client asks for the same batch again and again."""
    call = subject.call([batch])
    return lambda number: [call] * clients


def note(results: Results, line: str) -> None:
    """Keep a line on what was left out, once."""
    line = " ".join(line.split())
    if line not in results.notes:
        results.notes.append(line)


def _attempt(results: Results, name: str, start: Callable[[], list[T]]) -> list[T]:
    try:
        return start()
    except Stopped as error:
        note(results, f"{name}: {error}")
        return []


def _checked(subject: Subject, batch: Batch) -> list[Subject]:
    subject.check(batch)
    return [subject]
