"""Datasets: the vectors of one generation in a folder, for training without the service.

`embark archive export` writes them (`embark.dataset.export`); `Dataset` reads them. NumPy only: for
PyTorch see `embark.torch`. Not for serving, and not a backup: failures are left out.
"""

from embark.dataset.manifest import Format, Manifest
from embark.dataset.reader import Dataset, Found

__all__ = ["Dataset", "Format", "Found", "Manifest"]
