"""EmbArk: embeddings of slow models, served from an archive.

This package is what gateway, consumers, export and load tests share, and what users import.
"""

from embark.version import __version__

__all__ = ["__version__"]
