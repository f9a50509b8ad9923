"""Catalogues with known duplicates, to try `embark duplicates` on and to measure it with."""
