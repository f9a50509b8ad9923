"""Measuring one candidate: a Triton of its own, and a load for each concurrency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from export.tuning.objective import Measurement
from export.tuning.perf_analyzer import Load, PerfAnalyzer
from export.tuning.record import Candidate
from export.tuning.serving import Served, serving


@dataclass(frozen=True)
class Bench:
    """What the candidates of one tuning have in common.

    Attributes:
        analyzer: sends the requests.
        served: the model.
        inputs: file of `export.tuning.inputs`; Triton's files are made beside it.
        concurrencies: requests in flight, one load for each.
        seconds: length of a load.
    """

    analyzer: PerfAnalyzer
    served: Served
    inputs: Path
    concurrencies: Sequence[int]
    seconds: float

    def measure(self, candidate: Candidate) -> list[Measurement]:
        """Return one measurement for each concurrency.

        Raises:
            EmbArkError: the candidate could not be served or measured.
        """
        with serving(self.served, candidate, self.inputs.with_name("triton")) as url:
            loads = [
                Load(url, self.served.name, self.inputs, concurrency)
                for concurrency in self.concurrencies
            ]
            # The first requests of a process allocate memory.
            self.analyzer.warm_up(loads[-1])
            return [self.analyzer.measure(load, self.seconds) for load in loads]
