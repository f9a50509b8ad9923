"""Ports that servers are given before they start."""

from __future__ import annotations

import socket

import pytest

from embark.errors import ConfigurationError
from embark.ports import LOOPBACK, free_ports, is_free

EPHEMERAL = "/proc/sys/net/ipv4/ip_local_port_range"


def test_no_connection_of_a_client_can_take_them() -> None:
    with open(EPHEMERAL, encoding="ascii") as file:
        first, last = map(int, file.read().split())
    assert not any(first <= port <= last for port in free_ports(50))


def test_they_are_different_and_free_on_every_host() -> None:
    found = free_ports(20, (LOOPBACK, "127.0.0.2"))
    assert len(set(found)) == 20
    with socket.create_server(("127.0.0.2", found[0])):
        assert is_free(LOOPBACK, found[0])
        assert not is_free("127.0.0.2", found[0])


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no 20000 free ports"):
        free_ports(20_000)
