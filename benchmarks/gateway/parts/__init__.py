"""The questions, one a file: each measures, and returns rows, figures and notes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.gateway.options import Options
from benchmarks.gateway.parts import cold, consumers, growth, known, lookups
from benchmarks.gateway.place import Place
from benchmarks.gateway.results import Results

PARTS: Mapping[str, Callable[[Place, Options], Results]] = {
    lookups.NAME: lookups.measure,
    known.NAME: known.measure,
    cold.NAME: cold.measure,
    consumers.NAME: consumers.measure,
    growth.NAME: growth.measure,
}
"""Every part, by name."""
