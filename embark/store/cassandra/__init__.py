"""The archive in Cassandra: `store` reads and writes records.

`claims` keeps large inputs, `ledger` what is known of inputs and generations, `neighbours` the
vectors once more with an index.

`session` connects and heals, `ring` knows which replica has a key, `schema` makes the tables.
"""

from embark.store.cassandra.claims import Claims
from embark.store.cassandra.ledger import CassandraLedger
from embark.store.cassandra.neighbours import CassandraNeighbours, NeighbourTables
from embark.store.cassandra.session import Connection
from embark.store.cassandra.store import CassandraStore

__all__ = [
    "CassandraLedger",
    "CassandraNeighbours",
    "CassandraStore",
    "Claims",
    "Connection",
    "NeighbourTables",
]
