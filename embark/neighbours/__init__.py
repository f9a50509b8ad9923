"""Nearest neighbours: which archived vectors have the largest cosine with a given one.

`base` says what an index promises; `embedded` keeps one beside LMDB, `embark.store.cassandra.
neighbours` asks Cassandra's; `exact` compares with every vector, for checking. An index only
proposes: what is answered is read from the archive and compared exactly (`vectors`).
"""
