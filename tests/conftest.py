"""Fixtures that several layers of tests share."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from embark.client import Client
from embark.cluster.local import Addresses, LocalCluster
from export.reference import Reference
from tests.support.cluster import environment_of, running_cluster
from tests.support.stack import REPOSITORY, Stack, running

# Timings are not asserted, Hypothesis's included.
settings.register_profile("embark", deadline=None)
settings.load_profile("embark")

# As at a terminal, for all that tests start: a shell has what runs in the background ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)

ON_SERVERS = pytest.mark.cluster
ALLOWED_ORIGIN = "127.0.0.2"


@pytest.fixture(scope="session", params=["embedded", pytest.param("cluster", marks=ON_SERVERS)])
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The whole platform, which may fetch from one loopback address only; on both profiles.

    On the cluster, several gateway processes and several consumers.
    """
    environment = {"EMBARK_CONSUMER__FETCH__ALLOW_NETWORKS": f"{ALLOWED_ORIGIN}/32"}
    if request.param == "cluster":
        addresses = request.getfixturevalue("addresses")
        environment |= environment_of(addresses, "e", consumer__processes=2, gateway__processes=3)
    with running(tmp_path_factory.mktemp("stack"), environment) as running_stack:
        yield running_stack


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Cassandra, one node, and Kafka, for all tests that do not break them."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as running_one:
        yield running_one


@pytest.fixture(scope="session")
def addresses(cluster: LocalCluster) -> Addresses:
    return cluster.start()


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.url) as opened:
        yield opened


@pytest.fixture(scope="session")
def minilm() -> Reference:
    return Reference(REPOSITORY, "minilm")


@pytest.fixture(scope="session")
def inception() -> Reference:
    return Reference(REPOSITORY, "inception_v3")
