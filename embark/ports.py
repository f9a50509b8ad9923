"""Ports on which servers of one machine may listen, found before the servers start.

Not those that the system gives to outgoing connections (Linux: 32768 and above): a server that
takes seconds to start, or is down for a while, would now and then find its port taken by a client's
end of a connection.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence
from typing import Final

from embark.errors import ConfigurationError

LOOPBACK: Final = "127.0.0.1"

_PORTS = range(20000, 32000)
_TRIES = 1000
# Nobody's seed: programs that start together must not all try the same ones.
_random = random.SystemRandom()


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_ports(count: int, hosts: Sequence[str] = (LOOPBACK,)) -> list[int]:
    """Return different ports that are free now, each on all hosts.

    Raises:
        ConfigurationError: there are not so many.
    """
    ports: set[int] = set()
    for _ in range(_TRIES):
        port = _random.choice(_PORTS)
        if all(is_free(host, port) for host in hosts):
            ports.add(port)
        if len(ports) == count:
            return list(ports)
    raise ConfigurationError(f"no {count} free ports from {_PORTS.start} to {_PORTS.stop - 1}")


def free_port() -> int:
    """Return a port of loopback that is free now; raises as `free_ports`."""
    return free_ports(1)[0]
