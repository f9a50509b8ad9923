"""Whether a server answers, asked in a few bytes of its own protocol.

A port that accepts a connection says little: the kernel accepts for a server that is still loading,
or frozen. Not a client: nothing here reads or writes data.
"""

from __future__ import annotations

import socket
import struct

_TIMEOUT_SECONDS = 3.0

_CQL_REQUEST, _CQL_RESPONSE = 0x04, 0x84
_STARTUP, _READY, _QUERY, _RESULT = 0x01, 0x02, 0x07, 0x08
_CQL_HEADER = struct.Struct(">BBhBi")
_CQL_VERSION = b"\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0"
_MAX_CQL_BODY = 2**20

# A read of a table that every cluster has, and keeps on up to three nodes.
_ANY_READ = (
    b"SELECT status FROM system_distributed.view_build_status"
    b" WHERE keyspace_name = 'embark' AND view_name = 'ready'"
)

# ApiVersions, version 0, correlation id 1, no client id.
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)
_KAFKA_ANSWER = struct.Struct(">iih")


def cassandra_answers(host: str, port: int, nodes: int) -> bool:
    """Whether the node answers a read, and for it gets answers from `nodes` nodes, 1 to 3."""
    # Consistency levels ONE, TWO and THREE are 1, 2 and 3 on the wire.
    query = struct.pack(">i", len(_ANY_READ)) + _ANY_READ + struct.pack(">HB", nodes, 0)
    try:
        with socket.create_connection((host, port), _TIMEOUT_SECONDS) as connection:
            return (
                _ask_cql(connection, _STARTUP, _CQL_VERSION) == _READY
                and _ask_cql(connection, _QUERY, query) == _RESULT
            )
    except OSError:
        return False


def kafka_answers(host: str, port: int) -> bool:
    """Whether the broker answers; it does so only once it is registered and serves."""
    try:
        with socket.create_connection((host, port), _TIMEOUT_SECONDS) as connection:
            connection.sendall(_API_VERSIONS)
            _, correlation, error = _KAFKA_ANSWER.unpack(_receive(connection, _KAFKA_ANSWER.size))
            return bool(correlation == 1 and error == 0)
    except OSError:
        return False


def _ask_cql(connection: socket.socket, operation: int, body: bytes) -> int:
    """Send one frame; returns the operation of the answer."""
    connection.sendall(_CQL_HEADER.pack(_CQL_REQUEST, 0, 0, operation, len(body)) + body)
    version, _, _, answer, length = _CQL_HEADER.unpack(_receive(connection, _CQL_HEADER.size))
    if version != _CQL_RESPONSE or not 0 <= length <= _MAX_CQL_BODY:
        raise ConnectionError("this is no Cassandra")
    _receive(connection, length)
    return int(answer)


def _receive(connection: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        chunk = connection.recv(size - len(received))
        if not chunk:
            raise ConnectionError("the connection was closed")
        received += chunk
    return bytes(received)
