"""What several processes of a machine tell together, and what a dead one leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, multiprocess
from prometheus_client.metrics import MetricWrapperBase

from embark import metrics
from embark.metrics import SHARED_FOLDER, forget_process

# Counts, says that it has, and waits for its end.
PROCESS = """
import sys
from embark import metrics
value = int(sys.argv[1])
metrics.MISSES.labels(outcome="queued").inc(value)
metrics.IN_FLIGHT.inc(value)
metrics.MISS_MARKS.inc(value)
metrics.MISS_BUFFER.inc(value)
metrics.QUEUE_DEPTH.labels(lane="interactive").set(value)
metrics.QUEUE_OLDEST.labels(lane="interactive").set(value)
metrics.QUEUE_UP.set(0 if value > 5 else 1)
metrics.ARCHIVE_BREAKER.set(value > 5)
metrics.LOOKUP_REQUESTS.labels(endpoint="/v1/lookup", status="200").observe(value / 100)
metrics.INFERENCE_BATCH.labels(model="m").observe(value)
print("counted", flush=True)
sys.stdin.read()
"""


@contextmanager
def process(folder: Path, value: int) -> Iterator[int]:
    """A process that has counted `value`; at the end it dies as the platform sees it."""
    running = subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(value)],
        env={**os.environ, SHARED_FOLDER: str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"counted\n"
        yield running.pid
        running.kill()
    forget_process(running.pid, folder)


def told(folder: Path) -> dict[str, float]:
    """Every sample of the folder, by name and the values of its labels."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=str(folder))
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for metric in registry.collect()
        for sample in metric.samples
    }


def test_processes_tell_one_story_and_the_dead_leave_only_their_counts(tmp_path: Path) -> None:
    with process(tmp_path, 7):
        with process(tmp_path, 3):
            both = told(tmp_path)
        alone = told(tmp_path)
    none = told(tmp_path)
    for name in ("consumer_in_flight", "in_flight_marks", "miss_buffer_items"):
        assert (both[f"embark_{name}"], alone[f"embark_{name}"]) == (10, 7), name
        assert f"embark_{name}" not in none
    # The queue is one: what was seen last counts, not a sum.
    assert both["embark_queue_depth interactive"] == both["embark_queue_oldest_seconds interactive"]
    assert both["embark_queue_depth interactive"] == 3
    assert both["embark_queue_up"] == 1
    # A breaker that is open anywhere is open.
    assert both["embark_archive_breaker_open"] == 1
    for found in (both, alone, none):
        assert found["embark_misses_total queued"] == 10
        assert found["embark_http_request_seconds_count /v1/lookup 200"] == 2
        assert found["embark_inference_batch_items_sum m"] == 10


def test_lookups_are_counted_on_both_sides_of_their_aim_and_of_the_whole_budget() -> None:
    bounds = metrics.LOOKUP_REQUESTS._kwargs["buckets"]
    assert {0.05, 0.2} <= set(bounds) and list(bounds) == sorted(bounds)
    assert len([one for one in bounds if 0.02 <= one <= 0.5]) >= 6


def test_no_gauge_adds_up_the_dead() -> None:
    for name, metric in vars(metrics).items():
        if isinstance(metric, MetricWrapperBase) and metric._type == "gauge":
            mode = metric._multiprocess_mode  # type: ignore[attr-defined]
            assert mode.startswith("live") or mode == "max", name
