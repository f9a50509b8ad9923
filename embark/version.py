"""The version of EmbArk, stated once."""

__version__ = "0.1.0"
