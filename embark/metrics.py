"""Every metric of the platform, in one place, each with a sentence.

Several processes of one machine share these through prometheus_client's multiprocess folder
(`PROMETHEUS_MULTIPROC_DIR`, set by the process that starts them); without it each process counts
for itself. docs/metrics.md is checked against this module.
"""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Summary,
    generate_latest,
    multiprocess,
)

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

_LATENCY_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
# Fine around what a lookup aims at, 50 ms, and a ranking request's whole budget, 200 ms.
_REQUEST_SECONDS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5),
    *(1, 2, 5, 10, 30),
)
_BATCH_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)

LOOKUP_ITEMS = Counter(
    "embark_lookup_items_total",
    "Items answered by lookups, by model and status (hit, oov, failed).",
    ["model", "status"],
)
LOOKUP_HITS = Counter(
    "embark_lookup_hits_total",
    "Items of lookups that were hits, by model and tier: l1 (the gateway's memory), archive.",
    ["model", "tier"],
)
LOOKUP_REQUESTS = Histogram(
    "embark_http_request_seconds",
    "Time to answer an HTTP request, by endpoint and status code.",
    ["endpoint", "status"],
    buckets=_REQUEST_SECONDS,
)
LOOKUP_BATCH = Histogram(
    "embark_lookup_batch_items", "Items in one lookup request.", buckets=_BATCH_ITEMS
)
L1_ROWS = Gauge(
    "embark_l1_rows",
    "Vectors that gateways hold in memory, by model.",
    ["model"],
    multiprocess_mode="livesum",
)
L1_BYTES = Gauge(
    "embark_l1_bytes",
    "Memory given to those vectors and what belongs to them, by model; its bound is "
    "gateway.l1.max_bytes for each process.",
    ["model"],
    multiprocess_mode="livesum",
)
L1_EVICTIONS = Counter(
    "embark_l1_evictions_total", "Vectors in memory that made room for others, by model.", ["model"]
)
L1_PREWARMED = Counter(
    "embark_l1_prewarmed_total",
    "Vectors that gateways read into memory at their start, by model.",
    ["model"],
)
L1_INVALIDATIONS = Counter(
    "embark_l1_invalidations_total",
    "Invalidations that gateways have followed, by what they dropped: inputs, generation, all (the "
    "log could not be read for too long).",
    ["dropped"],
)
ARCHIVE_READ = Histogram(
    "embark_archive_read_seconds",
    "Time to read one batch from the archive, checked and decoded.",
    buckets=_LATENCY_SECONDS,
)
ARCHIVE_ERRORS = Counter(
    "embark_archive_errors_total", "Archive calls that failed, by operation.", ["operation"]
)
ARCHIVE_BREAKER = Gauge(
    "embark_archive_breaker_open",
    "1 while reads of the archive fail at once, because it did not answer lately.",
    multiprocess_mode="livemax",
)
LATE_ITEMS = Counter(
    "embark_archive_late_items_total",
    "Items answered as OOV because the archive was late or down, by model.",
    ["model"],
)
CORRUPT_RECORDS = Counter(
    "embark_corrupt_records_total",
    "Stored records refused by their checksum and asked for again, by model.",
    ["model"],
)
MISSES = Counter(
    "embark_misses_total",
    "Missing items, by what became of them: queued, in_flight (queued before), dropped (buffer "
    "full), failed (queue unavailable).",
    ["outcome"],
)
MISS_BUFFER = Gauge(
    "embark_miss_buffer_items",
    "Misses that wait in the gateway to be written to the queue.",
    multiprocess_mode="livesum",
)
MISS_MARKS = Gauge(
    "embark_in_flight_marks",
    "Keys that gateways have queued a short while ago and do not queue again.",
    multiprocess_mode="livesum",
)
QUEUE_UP = Gauge(
    "embark_queue_up",
    "1 while the queue says what waits in it; while it does not, depth and age keep their values.",
    multiprocess_mode="livemostrecent",
)
QUEUE_DEPTH = Gauge(
    "embark_queue_depth",
    "Requests in the queue, delivered and not acknowledged ones included, by lane.",
    ["lane"],
    multiprocess_mode="livemostrecent",
)
QUEUE_OLDEST = Gauge(
    "embark_queue_oldest_seconds",
    "Time since the oldest request that is not finished was queued, delivered and retried ones "
    "included, by lane; interactive: the age of the oldest unserved miss.",
    ["lane"],
    multiprocess_mode="livemostrecent",
)
LIVE_GENERATION = Gauge(
    "embark_live_generation",
    "1 for the generation that lookups of a model are answered with, by model and generation.",
    ["model", "generation"],
    multiprocess_mode="livemin",
)
CONSUMED = Counter(
    "embark_consumed_total",
    "Requests that consumers finished with, by model and outcome: embedded; joined (another "
    "request's inference served it too); known (in the archive already); retired (of a "
    "generation that is no longer served); failed; retried; deferred; dead.",
    ["model", "outcome"],
)
CONSUMERS = Gauge(
    "embark_consumers",
    "Consumer processes that run, by what they see of Retina: ready, away.",
    ["retina"],
    multiprocess_mode="livesum",
)
CONSUMER_STARTS = Counter("embark_consumer_starts_total", "Consumer processes that have started.")
DEAD_LETTERS = Counter(
    "embark_dead_letters_total", "Requests kept as dead letters, by reason.", ["reason"]
)
FAILURES = Counter("embark_failures_total", "Inputs remembered as failed, by reason.", ["reason"])
FETCHES = Histogram(
    "embark_fetch_seconds",
    "Time to fetch an image by URL, by outcome (ok or the reason).",
    ["outcome"],
    buckets=_LATENCY_SECONDS,
)
REFRESHES = Counter(
    "embark_refreshes_total",
    "Image URLs checked because their vector was old, by outcome: unchanged, fetched, failed.",
    ["outcome"],
)
INFERENCE = Histogram(
    "embark_inference_seconds",
    "Time of one inference request to Retina, by model and outcome (ok, rejected, unavailable).",
    ["model", "outcome"],
    buckets=_LATENCY_SECONDS,
)
INFERENCE_BATCH = Histogram(
    "embark_inference_batch_items",
    "Items in one inference request to Retina, by model.",
    ["model"],
    buckets=_BATCH_ITEMS,
)
IN_FLIGHT = Gauge(
    "embark_consumer_in_flight",
    "Requests that consumers have taken and not finished.",
    multiprocess_mode="livesum",
)
INFER_REQUESTS = Summary(
    "embark_infer_request_seconds",
    "Time to answer a request in the Open Inference Protocol, by model, version and outcome: "
    "answered; computed (it waited, and a vector was computed meanwhile); failed.",
    ["model", "version", "outcome"],
)
INFER_ITEMS = Counter(
    "embark_infer_items_total",
    "Items of such requests, by model, version and outcome: hit (in the archive when asked); "
    "computed (while the request waited); absent.",
    ["model", "version", "outcome"],
)
INFER_LOOKUP = Counter(
    "embark_infer_lookup_seconds_total",
    "Time of such requests' lookups, shared evenly among their items; labels as above.",
    ["model", "version", "outcome"],
)
INFER_LAST = Gauge(
    "embark_infer_last_timestamp_seconds",
    "When such a request was last answered, seconds since 1970, by model and version.",
    ["model", "version"],
    multiprocess_mode="max",
)
AGE_AT_ARCHIVE = Histogram(
    "embark_request_age_seconds",
    "Time from the queueing of a request to its record being in the archive, by lane.",
    ["lane"],
    buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800),
)
NEIGHBOURS = Histogram(
    "embark_neighbours_seconds",
    "Time to find the nearest of one request's items of a model, by model and mode (index, exact).",
    ["model", "mode"],
    buckets=_LATENCY_SECONDS,
)
NEIGHBOURS_ERRORS = Counter(
    "embark_neighbours_errors_total",
    "Searches for neighbours that failed or were turned away, by reason.",
    ["reason"],
)
NEIGHBOURS_ITEMS = Gauge(
    "embark_neighbours_items",
    "Vectors in the embedded index of neighbours, by model and generation.",
    ["model", "generation"],
    multiprocess_mode="livemostrecent",
)
NEIGHBOURS_TAIL = Gauge(
    "embark_neighbours_tail",
    "Changes since the embedded index was made, which are compared one by one.",
    ["model", "generation"],
    multiprocess_mode="livemostrecent",
)
NEIGHBOURS_BEHIND = Gauge(
    "embark_neighbours_behind",
    "Writes that searches for neighbours do not see yet, by model and generation.",
    ["model", "generation"],
    multiprocess_mode="livemax",
)
NEIGHBOURS_AGE = Gauge(
    "embark_neighbours_age_seconds",
    "Age of the embedded index of neighbours; 0 while none was needed yet.",
    ["model", "generation"],
    multiprocess_mode="livemax",
)
NEIGHBOURS_BUILDS = Counter(
    "embark_neighbours_builds_total",
    "Embedded indexes of neighbours made, by outcome: made, failed.",
    ["outcome"],
)
NEIGHBOURS_UNWRITTEN = Counter(
    "embark_neighbours_unwritten_total",
    "Vectors written to Cassandra without a row for neighbours, because `embark schema apply` has "
    "not made its table, by model.",
    ["model"],
)
REFUSED = Counter(
    "embark_refused_requests_total",
    "Requests that a gateway refused before doing anything, by reason: no_key, wrong_key, "
    "forbidden, foreign (a web page of another origin, in open mode), rate, concurrency, "
    "deadline, shed (too much to do), late (the client did not send it, or take its answer, in "
    "time), crowded (its connection or its bytes made room for others), malformed.",
    ["reason"],
)
KEYS_UNREADABLE = Counter(
    "embark_keys_unreadable_total",
    "Times that a changed file of API keys, or a renewed certificate, could not be used; the old "
    "one stays.",
)
HTTP_IN_FLIGHT = Gauge(
    "embark_http_in_flight",
    "Requests that gateways have taken in whole and not answered.",
    multiprocess_mode="livesum",
)
HTTP_CONNECTIONS = Gauge(
    "embark_http_connections",
    "Open connections of gateways.",
    multiprocess_mode="livesum",
)
PROCESSES_APART = Gauge(
    "embark_gateway_processes_apart",
    "Processes of a gateway that each count for themselves, as they share no folder; else 0.",
    multiprocess_mode="livemax",
)
HTTP_WAIT = Histogram(
    "embark_http_wait_seconds",
    "Time that an accepted request waited for a thread.",
    buckets=_LATENCY_SECONDS,
)


def exposition() -> bytes:
    """Return all metrics in Prometheus' text format, of every process that shares the folder."""
    return generate_latest(shared_registry())


def shared_registry() -> CollectorRegistry:
    """Return what has all metrics of every process that shares the folder."""
    folder = os.environ.get(SHARED_FOLDER)
    if folder is None:
        return REGISTRY
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
    return registry


def forget_process(pid: int, folder: Path | None = None) -> None:
    """Drop the live gauges of a process that has ended from the shared folder."""
    shared = folder or os.environ.get(SHARED_FOLDER)
    if shared is not None:
        multiprocess.mark_process_dead(pid, path=str(shared))  # type: ignore[no-untyped-call]
