"""The client of EmbArk's service: batches, retries, NumPy out.

with Client() as client:
    found = client.lookup(["a text", "another"], "minilm")
    found.embeddings  # float32, shape (2, 384)
    found.hits        # which rows are vectors, not the out-of-vocabulary one
"""

from embark.client.answers import Embeddings, Lookup, Neighbour, Neighbourhood, Result, Rows
from embark.client.client import Client
from embark.client.inputs import ImageUrl, Sendable, read_file

__all__ = [
    "Client",
    "Embeddings",
    "ImageUrl",
    "Lookup",
    "Neighbour",
    "Neighbourhood",
    "Result",
    "Rows",
    "Sendable",
    "read_file",
]
