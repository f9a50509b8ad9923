"""`python -m export.tuning`, which `embark tune` runs: measure settings, and keep the best."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from embark import config
from embark.errors import BadRequest, ConfigurationError, EmbArkError
from embark.models import ModelFacts
from export.repository import newest_facts
from export.triton_config import present, retuned
from export.tuning.bench import Bench
from export.tuning.choosing import Round, medians
from export.tuning.grid import candidates
from export.tuning.inputs import load_inputs, write_inputs
from export.tuning.objective import Objective, best, parse_objective
from export.tuning.perf_analyzer import locate, prepare
from export.tuning.record import Candidate, Tuning, replace_text, write_tuning
from export.tuning.report import Outcome, as_json, as_text
from export.tuning.serving import Served
from export.tuning.sweep import Sweep, loads, sweep

_DONE, _FAILED, _USAGE, _INTERRUPTED = 0, 1, 2, 130
_LONGEST_SECONDS = 600


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        outcome = tune(options)
    except EmbArkError as error:
        print(f"tune: {error.message}", file=sys.stderr)
        return _USAGE if isinstance(error, ConfigurationError | BadRequest) else _FAILED
    except KeyboardInterrupt:
        print("tune: interrupted; nothing was written", file=sys.stderr)
        return _INTERRUPTED
    print((as_json if options.json else as_text)(outcome))
    return _FAILED if outcome.tuning is None else _DONE


def tune(options: argparse.Namespace) -> Outcome:
    """Measure the candidates of this machine, and keep the best unless it is a dry run.

    Raises:
        BadRequest: an objective or the inputs cannot be used.
        ConfigurationError: the model, perf_analyzer or Retina's environment is missing.
        EmbArkError: a candidate could not be measured.
    """
    objectives = [parse_objective(text) for text in options.objective]
    retina = config.load().settings.retina
    repository = options.model_repository or retina.model_repository
    facts = _facts(repository, options.model)
    baseline = present(repository, facts.name)
    payloads = load_inputs(facts.name, facts.modality, options.inputs)
    program = locate(options.perf_analyzer)
    with tempfile.TemporaryDirectory(prefix="embark-tune-") as folder:
        analyzer = prepare(program, retina.environment, Path(folder) / "libraries")
        inputs = Path(folder) / "inputs.json"
        write_inputs(inputs, facts.modality, payloads)
        served = Served(repository, facts.name, facts.version, retina.environment)
        bench = Bench(analyzer, served, inputs, options.concurrency, options.seconds)
        found = _with_progress(bench, baseline, objectives, options.rounds)
    tuning = conclude(found, baseline, objectives)
    written = tuning is not None and not options.dry_run
    if tuning is not None and written:
        keep(repository, facts.name, tuning)
    return Outcome(facts.name, objectives, baseline, found, tuning, written)


def conclude(found: Sweep, baseline: Candidate, objectives: Sequence[Objective]) -> Tuning | None:
    """Return what a sweep chose and how it was measured, None if nothing meets the objectives."""
    if found.choice is None:
        return None
    before = best(medians(found.rounds[baseline]), objectives)
    chosen = found.choice.measurement
    return Tuning(
        candidate=found.choice.candidate,
        objective=" and ".join(map(str, objectives)),
        throughput=chosen.throughput,
        p99_ms=chosen.percentile_ms(99),
        concurrency=chosen.concurrency,
        baseline_throughput=None if before is None else before.throughput,
        cores=_cores(),
        measured_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def keep(repository: Path, name: str, tuning: Tuning) -> None:
    """Write a tuning, and the configurations that follow from it."""
    write_tuning(repository, name, tuning)
    for path, text in retuned(repository, name, tuning.candidate).items():
        replace_text(path, text)


def _facts(repository: Path, name: str) -> ModelFacts:
    facts = newest_facts(repository, name)
    if facts is None:
        raise ConfigurationError(
            f"no exported model {name!r} in {repository}; run `embark export {name}`"
        )
    return facts


def _with_progress(
    bench: Bench, baseline: Candidate, objectives: Sequence[Objective], rounds: int
) -> Sweep:
    tried = candidates(_cores())
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=loads(tried, rounds))

        def measured(candidate: Candidate) -> Round:
            progress.update(task, description=str(candidate))
            measurements = bench.measure(candidate)
            progress.advance(task)
            return measurements

        return sweep(measured, baseline, tried, objectives, rounds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="embark tune",
        description="Choose a model's instances, threads and batching delay by measuring them here,"
        " with the real Triton and perf_analyzer. See docs/tuning.md.",
    )
    parser.add_argument("model", help="an exported model")
    parser.add_argument(
        "--objective",
        action="append",
        required=True,
        metavar="P99=LIMIT",
        help="bound on latency, such as p99=50ms; may be repeated, then all must hold",
    )
    parser.add_argument(
        "--concurrency",
        type=_concurrencies,
        default=[1, 2, 4, 8],
        metavar="N,N",
        help="requests in flight, one load each (default: 1,2,4,8)",
    )
    parser.add_argument(
        "--seconds", type=_seconds, default=3.0, help="length of a load (default: 3)"
    )
    parser.add_argument("--rounds", type=_count, default=3, help="loads of a finalist (default: 3)")
    parser.add_argument(
        "--inputs", type=Path, help="file with one text a line, or folder of images to send"
    )
    parser.add_argument("--perf-analyzer", type=Path, help="the program, if not on PATH")
    parser.add_argument("--model-repository", type=Path, help="what `embark export` wrote")
    parser.add_argument("--dry-run", action="store_true", help="measure, and write nothing")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _concurrencies(text: str) -> list[int]:
    return [_count(part) for part in text.split(",")]


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= _LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and {_LONGEST_SECONDS} s")
    return value


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(main())
