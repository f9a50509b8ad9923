"""Fixtures that several layers of tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from embark.client import Client
from export.reference import Reference
from tests.support.stack import REPOSITORY, Stack, running

ALLOWED_ORIGIN = "127.0.0.2"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole platform, which may fetch from one loopback address only."""
    allow = {"EMBARK_CONSUMER__FETCH__ALLOW_NETWORKS": f"{ALLOWED_ORIGIN}/32"}
    with running(tmp_path_factory.mktemp("stack"), allow) as running_stack:
        yield running_stack


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
