"""L1: the vectors that are asked most, in the gateway's own memory, ahead of the archive."""

from gateway.l1.cache import L1, Digests, Held, packed

__all__ = ["L1", "Digests", "Held", "packed"]
