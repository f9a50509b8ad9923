"""Whether all nodes have a change of the schema, by the word of each.

The driver asks one node what it has heard of the others. That may be old news, and passes over
nodes that the driver takes for down.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any, Final

from cassandra import ConsistencyLevel
from cassandra.cluster import Cluster
from cassandra.protocol import QueryMessage

from embark.errors import ArchiveUnavailable
from embark.store.cassandra.driver import DRIVER_ERRORS

AGREE_SECONDS: Final = 60
"""How long is waited for nodes that disagree, or do not answer."""

_VERSION = "SELECT schema_version FROM system.local"
_CALL_SECONDS = 3.0
_POLL_SECONDS = 0.2


class Agreement:
    """Waits for the nodes of a cluster that is connected to, over connections of its own.

    Attributes:
        silent: addresses of nodes that did not answer, and are waited for no longer.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster: Final = cluster
        self.silent: set[str] = set()

    def wait(self) -> None:
        """Return when all nodes have the same schema, but for those that do not answer.

        Raises:
            ArchiveUnavailable: they do not.
        """
        deadline = time.monotonic() + AGREE_SECONDS
        while True:
            versions, silent = self._ask()
            if len(versions) == 1 and not silent:
                return
            if time.monotonic() >= deadline:
                break
            time.sleep(_POLL_SECONDS)
        if len(versions) != 1:
            nodes = "; ".join(", ".join(sorted(of_one)) for of_one in versions.values())
            raise ArchiveUnavailable(
                f"Cassandra's nodes do not agree about the schema ({nodes or 'none answers'}); see"
                " `nodetool describecluster`, then run `embark schema apply` again"
            )
        self.silent |= silent

    def _ask(self) -> tuple[dict[Any, set[str]], set[str]]:
        """Return who has which version, and who does not answer."""
        versions: dict[Any, set[str]] = defaultdict(set)
        silent = set()
        for host in self._cluster.metadata.all_hosts():
            if host.address in self.silent:
                continue
            try:
                versions[self._version(host.endpoint)].add(host.address)
            except DRIVER_ERRORS:
                silent.add(host.address)
        return dict(versions), silent

    def _version(self, node: Any) -> Any:
        connection = self._cluster.connection_factory(node)
        try:
            query = QueryMessage(_VERSION, ConsistencyLevel.ONE)
            answer = connection.wait_for_response(query, timeout=_CALL_SECONDS)
        finally:
            connection.close()
        ((version,),) = answer.parsed_rows
        return version
