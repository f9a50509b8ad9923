"""Which node has a key: tokens of partition keys against the ring, a batch at a time."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from cassandra.metadata import Metadata, Murmur3Token, TokenMap

_LENGTH = struct.Struct(">H")


def partition_key(model: str, generation: str, digest: bytes) -> bytes:
    """Return the serialised composite partition key: each part with its length before, 0 after."""
    return _part(model.encode()) + _part(generation.encode()) + _part(digest)


def _part(value: bytes) -> bytes:
    return _LENGTH.pack(len(value)) + value + b"\0"


class Ring:
    """Groups keys by their first replica.

    Args:
        metadata: the driver's view of the cluster, which it keeps up to date.
        keyspace: whose replication counts.
    """

    def __init__(self, metadata: Metadata, keyspace: str) -> None:
        self._metadata = metadata
        self._keyspace = keyspace
        self._seen: tuple[TokenMap, object] | None = None
        self._ends: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._owners: npt.NDArray[np.int64] = np.empty(0, np.int64)

    def group(self, model: str, generation: str, digests: Sequence[bytes]) -> list[list[int]]:
        """Return the positions of `digests`, those with the same first replica together.

        Without a token map, or with one node, all are one group.
        """
        self._refresh()
        ends, owners = self._ends, self._owners
        if len(digests) <= 1 or not len(ends) or not owners.any():
            return [list(range(len(digests)))]
        head = _part(model.encode()) + _part(generation.encode())
        hash_key = Murmur3Token.hash_fn
        tokens = np.fromiter(
            (hash_key(head + _part(digest)) for digest in digests), np.int64, len(digests)
        )
        # A range ends with its token, included; after the last one the ring begins again.
        found = owners[np.searchsorted(ends, tokens, side="left") % len(ends)]
        return [np.flatnonzero(found == owner).tolist() for owner in np.unique(found)]

    def _refresh(self) -> None:
        tokens = self._metadata.token_map
        if tokens is None:
            return
        placed = tokens.tokens_to_hosts_by_ks.get(self._keyspace)
        if self._seen is not None and self._seen[0] is tokens and self._seen[1] is placed:
            return
        numbers: dict[object, int] = {}
        owners = []
        for token in tokens.ring:
            replicas = tokens.get_replicas(self._keyspace, token)
            first = replicas[0].host_id if replicas else None
            owners.append(numbers.setdefault(first, len(numbers)))
        ends = np.array([token.value for token in tokens.ring], np.int64)
        self._ends, self._owners = ends, np.array(owners, np.int64)
        self._seen = (tokens, tokens.tokens_to_hosts_by_ks.get(self._keyspace))
