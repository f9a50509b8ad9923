"""EmbArk: the embeddings of slow neural models, served at once from an archive.

`Client` and `ImageUrl` are what users import. They are loaded on first use, so that the services
do not carry the client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embark.version import __version__

if TYPE_CHECKING:
    from embark.client import Client, ImageUrl

__all__ = ["Client", "ImageUrl", "__version__"]


def __getattr__(name: str) -> Any:
    if name in ("Client", "ImageUrl"):
        from embark import client

        return getattr(client, name)
    raise AttributeError(f"module 'embark' has no attribute {name!r}")
