"""Cold lookups: keys that no memory holds, from Cassandra and from LMDB, beside the bare drivers.

The bare driver is tried in several shapes in the same rounds, and the best of them counts. It gives
rows and decodes nothing; EmbArk's figures include checking and decoding each record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.gateway.clients import Call
from benchmarks.gateway.cluster import settings_on, start_cluster
from benchmarks.gateway.options import Options
from benchmarks.gateway.peers.base import http_call, post
from benchmarks.gateway.peers.embark import (
    KEYS_HEADERS,
    NO_L1,
    hits,
    keys_path,
    start_gateway,
)
from benchmarks.gateway.place import Place, Stopped
from benchmarks.gateway.programs.http_client import Connection
from benchmarks.gateway.results import Results
from benchmarks.gateway.subjects import Calls, fill_archive, take_turns
from benchmarks.gateway.workload import fill, model_of
from embark.backends import open_backends
from embark.cluster.local import Addresses
from embark.config import Configuration, to_environment
from embark.inputs import Modality
from embark.keys import DIGEST_BYTES
from embark.models import Model

NAME = "cold"
SHAPES = {1: "one key a query", 25: "IN of 25", 50: "IN of 50", 100: "IN of 100"}
BARE_LMDB = "bare LMDB"

_SIZES = (1, 10, 100, 1000)
_QUICK_SIZES = (100,)
_CLIENTS = (1, 8)
_QUICK_CLIENTS = (1, 2)
_RECORDS = 100_000
_QUICK_RECORDS = 2_000
_REQUESTS = 200


def bare(shape: str) -> str:
    """Return how the bare driver in a shape is called in tables."""
    return f"bare Cassandra driver, {shape}"


def archive(store: str) -> str:
    """Return how EmbArk's archive, called in the client's process, is called in tables."""
    return f"EmbArk's archive on {store}, in process"


def service(store: str) -> str:
    """Return how a gateway without a memory is called in tables."""
    return f"EmbArk, keys, over HTTP, on {store}"


def measure(place: Place, options: Options, addresses: Addresses | None = None) -> Results:
    """Measure every size, with one client and eight.

    Args:
        place: where.
        options: how much.
        addresses: a cluster that runs; None starts one.
    """
    results = Results(NAME, options.rounds)
    model = model_of(Modality.TEXT)
    rng = np.random.default_rng(0)
    count = _QUICK_RECORDS if options.quick else _RECORDS
    digests = [rng.bytes(DIGEST_BYTES) for _ in range(count)]
    on_cassandra = settings_on(addresses or start_cluster(place), place)
    place.report(f"writing {count} records")
    backends = open_backends(on_cassandra.settings)
    try:
        fill(backends.store, model, digests)
    finally:
        backends.close()
    data = place.folder / "lmdb"
    fill_archive(data, model, digests)
    targets = _targets(on_cassandra, data, model)
    ports = {
        service("Cassandra"): _start(place, "Cassandra", on_cassandra),
        service("LMDB"): start_gateway(place, "gateway-lmdb", data, NO_L1),
    }
    for port in ports.values():
        _check(port, model, digests[:1000])
    sizes = _QUICK_SIZES if options.quick else _SIZES
    numbers = _QUICK_CLIENTS if options.quick else _CLIENTS
    for size in sizes:
        batches = [
            [digests[number] for number in rng.choice(count, size, replace=False)]
            for _ in range(_REQUESTS)
        ]
        requests = [_request(model, batch) for batch in batches]
        for clients in numbers:
            calls = {
                name: _same([Call("archive_client", target, batches)] * clients)
                for name, target in targets.items()
            }
            for name, port in ports.items():
                calls[name] = _same([http_call(port, requests)] * clients)
            take_turns(place, results, {"keys": size, "clients": clients}, calls, options)
    return results


def _targets(on_cassandra: Configuration, data: Any, model: Model) -> dict[str, dict[str, Any]]:
    """Return what the clients inside the archive are told, by name."""
    cassandra = on_cassandra.settings.archive.cassandra
    names = {"model": model.name, "generation": model.generation}
    driver = {
        "way": "bare driver",
        "contact_points": list(cassandra.contact_points),
        "port": cassandra.port,
        "keyspace": cassandra.keyspace,
        **names,
    }
    repository = str(on_cassandra.settings.retina.model_repository)
    on_lmdb = {"EMBARK_DATA": str(data), "EMBARK_RETINA__MODEL_REPOSITORY": repository}
    return {
        **{bare(name): {**driver, "chunk": chunk} for chunk, name in SHAPES.items()},
        BARE_LMDB: {"way": "bare lmdb", "data": str(data), **names},
        archive("Cassandra"): {
            "way": "archive",
            "environment": to_environment(on_cassandra),
            **names,
        },
        archive("LMDB"): {"way": "archive", "environment": on_lmdb, **names},
    }


def _start(place: Place, store: str, configuration: Configuration) -> int:
    prefix = "EMBARK_"
    settings = {
        name.removeprefix(prefix): value for name, value in to_environment(configuration).items()
    }
    data = configuration.settings.data
    return start_gateway(place, f"gateway-{store.lower()}", data, {**settings, **NO_L1})


def _request(model: Model, digests: Sequence[bytes]) -> bytes:
    return post(keys_path(model), b"".join(digests), KEYS_HEADERS)


def _check(port: int, model: Model, digests: Sequence[bytes]) -> None:
    connection = Connection("127.0.0.1", port)
    try:
        connection.send(_request(model, digests))
        found = hits(bytes(connection.receive()), model)
    except OSError as error:
        raise Stopped(f"the gateway answers keys with {error}") from error
    finally:
        connection.close()
    if found != len(digests):
        raise Stopped(f"the gateway finds {found} of {len(digests)} keys")


def _same(calls: Sequence[Call]) -> Calls:
    return lambda number: calls
