"""WSGI servers and JSON libraries, with the real application: which one is the gateway to run on?

`python -m benchmarks.servers`: every server has one process and 16 threads, the same gateway on an
archive of its own, all vectors in memory. Each is asked for 100 vectors by keys in binary, by texts
in JSON with an answer in base64, and for as many constant bytes of a bare Flask route, by one
client and by eight, each a process; all take turns in every round. JSON libraries read and write
such a request and answer in this process, in CPU time. Prints tables and writes JSON.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.gateway.peers.base import HttpSubject
from benchmarks.gateway.peers.embark import EmbArkJson, EmbArkKeys
from benchmarks.gateway.peers.floor import Floor
from benchmarks.gateway.place import (
    ENVIRONMENTS,
    REQUIREMENTS,
    Place,
    answers,
    gunicorn,
    own_server,
    place_in,
)
from benchmarks.gateway.rounds import Slice, Spread, alternate, ratio, spread
from benchmarks.gateway.subjects import fill_archive
from benchmarks.gateway.workload import REPOSITORY, Batch, model_of
from embark.inputs import Modality
from embark.ports import free_port
from embark.settings import GatewaySettings

APP = "benchmarks.gateway.programs.gateway_app:app"
OWN = "the gateway's"
KEYS = 100
SETTINGS = GatewaySettings(processes=1)

console = Console(highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--clients", default="1,8")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    counts = [int(one) for one in options.clients.split(",")]
    tools = _install()
    libraries = _libraries(tools, options.rounds * 10)
    with (
        tempfile.TemporaryDirectory() as folder,
        place_in(Path(folder) / "run", console.print) as at,
    ):
        subjects = _start(at, tools)
        slices = {count: _measure(at, subjects, count, options) for count in counts}
    _show(slices, libraries)
    if options.json:
        found = {count: {name: [asdict(one) for one in some] for name, some in by_name.items()}
                 for count, by_name in slices.items()}  # fmt: skip
        told = {name: asdict(one) for name, one in libraries.items()}
        options.json.write_text(json.dumps({"servers": found, "json_us": told}, indent=1), "utf-8")


def _install() -> Path:
    """Return the folder that has the servers which EmbArk does not need, made if missing."""
    folder = ENVIRONMENTS.absolute() / "servers"
    if not (folder / "granian").exists():
        uv = str(Path(sys.executable).with_name("uv"))
        wanted = str(REQUIREMENTS / "servers.txt")
        subprocess.run(
            f"{uv} pip install --quiet --python {sys.executable} --target {folder}"
            f" --requirement {wanted}".split(),
            check=True,
        )
    return folder


def _commands(port: int) -> dict[str, list[str]]:
    python, threads = sys.executable, str(SETTINGS.threads)
    address = f"127.0.0.1:{port}"
    return {
        OWN: own_server(Path(python), APP, port, SETTINGS),
        "gunicorn gthread": gunicorn(Path(python), APP, port, SETTINGS),
        "granian": f"{python} -m granian --interface wsgi --workers 1 --host 127.0.0.1"
        f" --port {port} --blocking-threads {threads} {APP}".split(),
        "waitress": [python, "-m", "waitress", f"--listen={address}", f"--threads={threads}", APP],
        "cheroot": [python, "-m", "cheroot", "--bind", address, "--threads", threads, APP],
    }


def _start(place: Place, tools: Path) -> dict[str, HttpSubject]:
    """Start all servers; return how each is asked, by server and form."""
    model = model_of(Modality.TEXT)
    batch = _batch()
    subjects: dict[str, HttpSubject] = {}
    for name in _commands(0):
        port, data = free_port(), place.folder / name.replace(" ", "-")
        fill_archive(data, model, batch.digests)
        given = {"DATA": str(data), "RETINA__MODEL_REPOSITORY": str(REPOSITORY.absolute())}
        given |= {"ARCHIVE__NEIGHBOURS__MODELS": "", "GATEWAY__PORT": str(port)}
        environment = {f"EMBARK_{key}": one for key, one in given.items()}
        environment["PYTHONPATH"] = os.pathsep.join((str(Path.cwd()), str(tools)))
        ready = answers(f"http://127.0.0.1:{port}/ready")
        place.serve(name, _commands(port)[name], ready, environment)
        keys = EmbArkKeys(f"{name}, keys", port)
        for one in (keys, EmbArkJson(f"{name}, JSON", port), Floor(f"{name}, bare", port, keys)):
            one.check(batch)
            subjects[one.name] = one
    return subjects


def _batch() -> Batch:
    texts = [f"a text of an item that is for sale, number {number}" for number in range(KEYS)]
    return Batch(model_of(Modality.TEXT), [text.encode() for text in texts])


def _measure(
    place: Place, subjects: dict[str, HttpSubject], clients: int, options: argparse.Namespace
) -> dict[str, list[Slice]]:
    calls = {name: subject.call([_batch()]) for name, subject in subjects.items()}

    def take(name: str, _round: int) -> Slice:
        return place.clients.measure([calls[name]] * clients, options.seconds)

    return alternate(list(subjects), options.rounds, take)


def _libraries(tools: Path, rounds: int) -> dict[str, Spread]:
    """Return what each library takes to read a request and to write an answer, in microseconds."""
    sys.path.append(str(tools))
    msgspec: Any = importlib.import_module("msgspec")
    request = orjson.dumps({"model": "minilm", "items": [p.decode() for p in _batch().payloads]})
    vectors = np.random.default_rng(0).normal(size=(KEYS, 384)).astype(np.float32)
    answer = {"items": [{"status": "hit", "embedding": row} for row in vectors]}
    plain = json.JSONEncoder(default=lambda row: row.tolist())
    stages: dict[str, Callable[[], object]] = {
        "read, orjson": lambda: orjson.loads(request),
        "read, json": lambda: json.loads(request),
        "read, msgspec": lambda: msgspec.json.decode(request),
        "write, orjson": lambda: orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY),
        "write, json": lambda: plain.encode(answer).encode(),
        "write, msgspec": lambda: msgspec.json.encode(answer, enc_hook=lambda row: row.tolist()),
    }
    took: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(rounds):
        for name, stage in stages.items():
            began = time.thread_time_ns()
            stage()
            took[name].append((time.thread_time_ns() - began) / 1000)
    return {name: spread(some) for name, some in took.items()}


def _show(slices: dict[int, dict[str, list[Slice]]], libraries: dict[str, Spread]) -> None:
    for clients, found in slices.items():
        table = Table(f"{clients} at once", "p50 ms", "p99 ms", "a second", "to bare", "to the own")
        for name, some in found.items():
            server, _, form = name.rpartition(", ")
            p50 = [one.p50_ms for one in some]
            told = [f"{spread(one.p99_ms for one in some).median:.2f}"]
            told.append(f"{spread(one.per_s for one in some).median:.0f}")
            for other in (f"{server}, bare", f"{OWN}, {form}"):
                told.append(_told(ratio(p50, [one.p50_ms for one in found[other]])))
            table.add_row(name, f"{spread(p50).median:.2f}", *told)
        console.print(table)
    table = Table("100 texts, 100 vectors of 384", "median µs", "least µs")
    for name, one in libraries.items():
        table.add_row(name, f"{one.median:.0f}", f"{one.least:.0f}")
    console.print(table)


def _told(one: Spread) -> str:
    return f"{one.median:.2f} ({one.least:.2f} to {one.most:.2f})"


if __name__ == "__main__":
    main()
