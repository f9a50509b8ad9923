"""Triton's perf_analyzer: where it is, how it is run, what its report says.

It is a program of NVIDIA's, linked against two libraries that are not on every machine; Triton's
wheel carries both. `export.tuning.fetch` brings it here.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from embark.errors import ConfigurationError, EmbArkError
from export.tuning.objective import PERCENTILES, Measurement

PROGRAM = "perf_analyzer"
FETCHED = Path(".cache") / PROGRAM / PROGRAM

_LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}
_WINDOWS = 3
# Every load takes its three windows and no more: a load that varies is seen in the rounds.
_STABLE_PERCENT = 10_000
_LONGER = (1, 2, 4)
_NONE_ENDED = "No valid requests recorded within time interval"
_EXTRA_SECONDS = 60
_WARM_UP_REQUESTS = 8
_TAIL_LINES = 8


@dataclass(frozen=True)
class Load:
    """Requests of one input each.

    Attributes:
        url: host:port of Triton's gRPC endpoint.
        model: name of the front.
        inputs: file of `export.tuning.inputs`, sent in turn; the report is made beside it.
        concurrency: requests in flight.
    """

    url: str
    model: str
    inputs: Path
    concurrency: int


@dataclass(frozen=True)
class PerfAnalyzer:
    """A perf_analyzer that can be run.

    Attributes:
        program: the file.
        environment: variables that it runs with.
    """

    program: Path
    environment: Mapping[str, str]

    def measure(self, load: Load, seconds: float) -> Measurement:
        """Load a model, and return what was seen.

        Args:
            load: what is sent.
            seconds: how long, in three windows; longer if no request ends within one.

        Raises:
            EmbArkError: requests failed, or none ended (code `measurement_failed`).
        """
        report = load.inputs.with_name("report.csv")
        report.unlink(missing_ok=True)
        for longer in _LONGER:
            flags = {
                "--measurement-interval": max(1, round(longer * seconds * 1000 / _WINDOWS)),
                "--max-trials": _WINDOWS,
                "--stability-percentage": _STABLE_PERCENT,
                "--percentile": PERCENTILES[-1],
                "-f": report,
            }
            done = self._send(load, flags, longer * seconds + _EXTRA_SECONDS)
            if _NONE_ENDED not in done.stdout:
                break
        if done.returncode != 0:
            raise _failed(load, _tail(done))
        try:
            (measurement,) = parse_report(report.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise _failed(load, str(error)) from error
        return measurement

    def warm_up(self, load: Load) -> None:
        """Send some requests that are not measured.

        Raises:
            EmbArkError: they failed (code `measurement_failed`).
        """
        requests = _WARM_UP_REQUESTS * load.concurrency
        done = self._send(load, {"--request-count": requests}, _EXTRA_SECONDS)
        if done.returncode != 0:
            raise _failed(load, _tail(done))

    def _send(
        self, load: Load, flags: Mapping[str, object], timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        target = {"-i": "grpc", "-u": load.url, "-m": load.model, "--input-data": load.inputs}
        every = {**target, "--concurrency-range": load.concurrency, **flags}
        return self.run([str(part) for flag in every.items() for part in flag], timeout_s)

    def run(self, arguments: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        """Run it to its end.

        Raises:
            EmbArkError: it took longer (code `measurement_failed`).
        """
        try:
            return subprocess.run(
                [str(self.program), *arguments],
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EmbArkError(
                f"{PROGRAM} did not end within {timeout_s:g} s; is the machine overloaded?",
                code="measurement_failed",
            ) from None


def locate(option: Path | None) -> Path:
    """Return perf_analyzer: the file that is asked for, else on PATH, else the fetched one.

    Raises:
        ConfigurationError: there is none.
    """
    if option is not None:
        if not os.access(option, os.X_OK):
            raise ConfigurationError(f"{option} is not a program that can be run")
        return option.absolute()
    on_path = shutil.which(PROGRAM)
    if on_path is not None:
        return Path(on_path)
    if os.access(FETCHED, os.X_OK):
        return FETCHED.absolute()
    raise ConfigurationError(
        f"there is no {PROGRAM} on PATH or at {FETCHED}; `python -m export.tuning.fetch` fetches"
        " it, or name one with --perf-analyzer"
    )


def prepare(program: Path, retina: Path, folder: Path) -> PerfAnalyzer:
    """Give a perf_analyzer the libraries of Triton's wheel.

    Args:
        program: see `locate`.
        retina: Python environment that has the `retina` extra.
        folder: for links to the libraries; made if missing.

    Raises:
        ConfigurationError: it still does not run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, pattern in _LIBRARIES.items():
        for library in retina.absolute().glob(f"lib/python3*/*/nvidia_pytriton.libs/{pattern}"):
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(library)
    before = os.environ.get("LD_LIBRARY_PATH")
    paths = os.pathsep.join([str(folder.absolute()), *([before] if before else [])])
    analyzer = PerfAnalyzer(program, {**os.environ, "LD_LIBRARY_PATH": paths})
    asked = analyzer.run(["--version"], _EXTRA_SECONDS)
    if asked.returncode != 0:
        raise ConfigurationError(
            f"{program} does not run: {_tail(asked)}\n  its libraries are looked for in Retina's"
            f" environment, {retina}; `make retina` makes it"
        )
    return analyzer


def parse_report(text: str) -> list[Measurement]:
    """Return the rows of a report in CSV.

    Raises:
        ValueError: it is not such a report.
    """
    try:
        return [
            Measurement(
                concurrency=int(row["Concurrency"]),
                throughput=float(row["Inferences/Second"]),
                latency_ms=tuple(float(row[f"p{one} latency"]) / 1000 for one in PERCENTILES),
            )
            for row in csv.DictReader(io.StringIO(text))
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a report of {PROGRAM}: {error!r}") from error


def _failed(load: Load, said: str) -> EmbArkError:
    return EmbArkError(
        f"{PROGRAM} could not measure {load.model} with {load.concurrency} request(s) in flight:"
        f" {said}\n"
        "  if no request ended in time, give it more with --seconds",
        code="measurement_failed",
    )


def _tail(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return "\n  ".join(lines[-_TAIL_LINES:])
