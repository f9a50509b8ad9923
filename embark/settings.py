"""The settings: one typed tree with units in its names, validated as a whole.

Not for where values come from: that is `embark.config`. docs/configuration.md is generated from
this module.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

_MIB = 2**20


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GatewayNeighbourSettings(_Section):
    """Requests for neighbours, bounded so that lookups are answered beside them."""

    max_items: int = Field(100, ge=1, le=1000, description="Most items in one request.")
    max_k: int = Field(200, ge=1, le=1000, description="Most neighbours of one item.")
    timeout_ms: int = Field(2000, ge=10, description="Longest that a search may take.")
    exact_timeout_seconds: float = Field(
        60, gt=0, description="Longest that an exact search may take."
    )
    max_searches: int = Field(
        4, ge=1, description="Searches of one process at once; more are answered 503."
    )
    max_exact: int = Field(1, ge=0, description="The same for exact searches; 0 for none.")


class GatewayTlsSettings(_Section):
    """TLS towards the gateway's clients; a renewed certificate is taken up within seconds."""

    certificate: Path | None = Field(
        None, description="The gateway's certificate with its chain, PEM; none for plain HTTP."
    )
    key: Path | None = Field(None, description="Its private key, PEM.")

    @model_validator(mode="after")
    def _both_or_none(self) -> GatewayTlsSettings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a certificate and its key go together")
        return self


class GatewayL1Settings(_Section):
    """The vectors that each gateway process keeps in memory, ahead of the archive."""

    max_bytes: int = Field(
        256 * _MIB, ge=0, description="Memory of one process for them, all models; 0 keeps none."
    )
    prewarm_seconds: float = Field(
        10,
        ge=0,
        description="How long a process that has started reads the most used vectors ahead, beside"
        " its other work; 0 for not at all.",
    )


class GatewaySettings(_Section):
    """EmbArk itself: the HTTP service."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=1, le=65535, description="Port to listen on.")
    processes: int = Field(2, ge=1, le=256, description="Worker processes.")
    threads: int = Field(16, ge=1, le=512, description="Threads of each worker process.")
    keys_file: Path | None = Field(
        None,
        description="File of API keys, which `embark keys` writes. Without one everybody may do"
        " everything, so the gateway then listens on loopback only.",
    )
    key_requests_per_second: float = Field(
        0, ge=0, description="Requests a second of a key that has no limit of its own; 0 for any."
    )
    key_concurrent: int = Field(
        0, ge=0, description="Requests at once of a key that has no limit of its own; 0 for any."
    )
    open_metrics: bool = Field(
        False, description="Answer /metrics without a key: where only Prometheus can ask."
    )
    objective_ms: int = Field(
        200,
        ge=5,
        description="What a request that does not ask to wait may take; beyond what keeps it,"
        " requests are answered 503 at once.",
    )
    max_connections: int = Field(
        1000, ge=10, description="Connections of each worker process; the idlest make room."
    )
    receive_seconds: float = Field(
        10,
        gt=0,
        description="How long a client may take to send a request or to take an answer, and a"
        " second more for each 32 KiB.",
    )
    max_buffered_bytes: int = Field(
        256 * _MIB,
        ge=_MIB,
        description="Bytes of half-sent requests and half-taken answers in each worker process;"
        " the largest make room.",
    )
    tls: GatewayTlsSettings = GatewayTlsSettings()
    max_body_bytes: int = Field(40 * _MIB, ge=1024, description="Largest request body.")
    max_items: int = Field(2048, ge=1, le=100_000, description="Most items in one request.")
    max_wait_ms: int = Field(30_000, ge=0, description="Longest wait_ms that a lookup may ask.")
    max_waiting: int = Field(
        8,
        ge=0,
        description="Lookups of one process that may wait at once, at most half its threads; more"
        " answer as oov.",
    )
    archive_timeout_ms: int = Field(50, ge=1, description="Deadline of one archive read.")
    miss_buffer_items: int = Field(
        20_000, ge=1, description="Misses held in memory until the queue has them."
    )
    miss_buffer_bytes: int = Field(
        128 * _MIB, ge=1, description="Bytes of misses held in memory until the queue has them."
    )
    miss_ack_ms: int = Field(
        10,
        ge=0,
        le=100,
        description="Longest that a lookup with misses waits to report them as queued; "
        "0 never waits. A queue in trouble is not waited for.",
    )
    in_flight_seconds: float = Field(
        15, gt=0, description="How long a queued key is not queued again by the same process."
    )
    l1: GatewayL1Settings = GatewayL1Settings()
    neighbours: GatewayNeighbourSettings = GatewayNeighbourSettings()


class InputSettings(_Section):
    """What an input may be, wherever it comes in."""

    max_text_bytes: int = Field(64 * 1024, ge=1, description="Longest text, in UTF-8.")
    max_url_chars: int = Field(2048, ge=16, description="Longest image URL.")
    max_image_bytes: int = Field(25 * _MIB, ge=1, description="Largest image file.")
    max_pixels: int = Field(50_000_000, ge=1, description="Most pixels of an image.")
    refresh_url_seconds: float = Field(
        0,
        ge=0,
        description="Age from which a vector of an image URL is checked against the URL when it is"
        " asked: only a changed image is computed again; 0 never.",
    )


class TlsSettings(_Section):
    """TLS towards a cluster, and the client's own certificate where the cluster asks for one."""

    enabled: bool = Field(False, description="Encrypt, and check the server's certificate.")
    authority: Path | None = Field(
        None, description="File with the authorities to trust, PEM; none for the system's."
    )
    certificate: Path | None = Field(None, description="The client's certificate, PEM.")
    key: Path | None = Field(None, description="The private key of the client's certificate, PEM.")
    check_hostname: bool = Field(
        True,
        description="Require the certificate to name the host; towards Cassandra, its address.",
    )


class CassandraSettings(_Section):
    """The archive in Cassandra."""

    contact_points: tuple[str, ...] = Field(
        ("127.0.0.1",), min_length=1, description="Nodes to connect to first; they name the others."
    )
    port: int = Field(9042, ge=1, le=65535, description="Port of CQL, the same on every node.")
    local_datacenter: str = Field(
        "datacenter1", description="The data center that is read from and written to."
    )
    keyspace: str = Field(
        "embark", pattern=r"^[a-z][a-z0-9_]{0,47}$", description="Keyspace of all tables."
    )
    replication: tuple[str, ...] = Field(
        ("datacenter1:1",),
        min_length=1,
        description="Copies by data center, `name:copies`; `embark schema apply` sets it.",
    )
    user: str = Field("", description="User; empty for none.")
    password: SecretStr = Field(SecretStr(""), description="Password of the user.")
    tls: TlsSettings = TlsSettings()
    read_chunk: int = Field(25, ge=1, le=100, description="Keys in one read query.")
    speculative_ms: int = Field(
        8, ge=1, description="After how long a read is also sent to the next replica."
    )
    speculative_attempts: int = Field(
        2, ge=0, le=5, description="How many further replicas a slow read is sent to."
    )
    write_timeout_seconds: float = Field(
        5, gt=0, description="Longest that one record's write may take."
    )
    writes: int = Field(64, ge=1, le=1024, description="Writes of one call in flight at once.")
    breaker_failures: int = Field(
        4, ge=1, description="Reads in a row without any answer after which reads fail at once."
    )
    probe_seconds: float = Field(
        0.5, gt=0, description="How often a cluster that failed is tried again."
    )

    @model_validator(mode="after")
    def _replication_is_readable(self) -> CassandraSettings:
        for entry in self.replication:
            name, _, copies = entry.rpartition(":")
            if not re.fullmatch(r"[\w.-]+", name) or not copies.isdecimal() or int(copies) < 1:
                raise ValueError(f"replication must read name:copies, not {entry!r}")
        return self


class SourceSettings(_Section):
    """What the archive remembers of where vectors came from, so that they can be computed again."""

    texts: bool = Field(True, description="Remember texts.")
    urls: bool = Field(True, description="Remember image URLs.")
    images: bool = Field(
        False, description="Remember the files of images that were sent as bytes; mind the space."
    )
    days: float = Field(
        0, ge=0, description="How long, from the day the vector was computed; 0 for ever."
    )


class UsageSettings(_Section):
    """How often each input is asked, sampled; filling and coverage go by it."""

    window_seconds: float = Field(
        300, ge=0, description="How often a gateway process writes its counts; 0 counts nothing."
    )
    days: float = Field(7, gt=0, description="How long counts are kept.")


class NeighbourSettings(_Section):
    """Of which vectors the nearest can be found."""

    models: tuple[str, ...] = Field(
        ("*",),
        description="Models whose neighbours are kept; `*` for all, empty for none. It doubles the"
        " space that their vectors take.",
    )

    def keeps(self, model: str) -> bool:
        """Whether neighbours of a model are kept."""
        return "*" in self.models or model in self.models


class ArchiveSettings(_Section):
    """Where vectors are kept."""

    backend: Literal["lmdb", "cassandra"] = Field("lmdb", description="Store implementation.")
    max_bytes: int = Field(64 * 2**30, ge=_MIB, description="Bound of the embedded archive's file.")
    sources: SourceSettings = SourceSettings()
    usage: UsageSettings = UsageSettings()
    neighbours: NeighbourSettings = NeighbourSettings()
    cassandra: CassandraSettings = CassandraSettings()


class KafkaSettings(_Section):
    """The queue in Kafka."""

    bootstrap: tuple[str, ...] = Field(
        ("127.0.0.1:9092",), min_length=1, description="Brokers to connect to first, host:port."
    )
    prefix: str = Field(
        "embark",
        pattern=r"^[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,150}$",
        description="First part of the names of topics and consumer groups.",
    )
    partitions: int = Field(
        12, ge=1, description="Partitions of each topic: most consumer processes of a lane."
    )
    replication: int = Field(1, ge=1, description="Copies of each partition; 3 in production.")
    retention_hours: float = Field(
        168, gt=0, description="How long requests are kept, and the inputs they claim."
    )
    dead_retention_hours: float = Field(720, gt=0, description="The same for dead letters.")
    session_seconds: float = Field(
        10, ge=6, description="After how long a silent consumer's partitions go to another."
    )
    user: str = Field("", description="SASL user; empty for no SASL.")
    password: SecretStr = Field(SecretStr(""), description="SASL password.")
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="SASL mechanism."
    )
    tls: TlsSettings = TlsSettings()
    delivery_seconds: float = Field(
        3, gt=0, description="Longest that putting requests may take before it counts as failed."
    )
    buffer_items: int = Field(
        50_000, ge=1000, description="Records that one process's producer holds, at most."
    )
    inline_bytes: int = Field(
        512 * 1024,
        ge=1024,
        le=900_000,
        description="Longest input that travels inside its record; longer ones are claimed.",
    )
    read_ahead: int = Field(
        200, ge=1, description="Requests of a lane that a consumer has read and not yet begun."
    )
    read_ahead_bytes: int = Field(32 * _MIB, ge=_MIB, description="Bytes of those, at most.")
    commit_ms: int = Field(200, ge=10, description="How often finished offsets are committed.")


class QueueSettings(_Section):
    """Where requests wait for a consumer."""

    backend: Literal["sqlite", "kafka"] = Field("sqlite", description="Queue implementation.")
    lease_seconds: float = Field(
        15,
        gt=0,
        description="How long the embedded queue leaves a request with a silent consumer.",
    )
    max_attempts: int = Field(
        6, ge=1, description="Attempts after which an input is remembered as failed."
    )
    retry_base_seconds: float = Field(0.5, gt=0, description="Delay before the second attempt.")
    retry_max_seconds: float = Field(60, gt=0, description="Longest delay between attempts.")
    kafka: KafkaSettings = KafkaSettings()


class RetinaSettings(_Section):
    """Triton, and the models it serves."""

    url: str = Field(
        "127.0.0.1:8001", description="host:port of Triton's gRPC endpoint, for consumers."
    )
    model_repository: Path = Field(
        Path("model_repository"), description="Folder that `embark export` writes."
    )
    environment: Path = Field(
        Path(".venv-retina"),
        description="Python environment with Triton in it, for `embark up`.",
    )
    timeout_seconds: float = Field(
        30,
        gt=0,
        description="Longest that one inference request may take; four fifths of it in a queue.",
    )
    follow_seconds: float = Field(
        1,
        gt=0,
        le=5,
        description="How often gateways and consumers look for new and promoted generations.",
    )


class FetchSettings(_Section):
    """Fetching images by URL."""

    threads: int = Field(16, ge=1, le=256, description="Fetches at once.")
    per_host: int = Field(4, ge=1, description="Fetches at once from one host.")
    timeout_seconds: float = Field(10, gt=0, description="Longest that one fetch may take.")
    connect_timeout_seconds: float = Field(3, gt=0, description="Longest for one connection.")
    max_redirects: int = Field(5, ge=0, le=20, description="Redirects followed.")
    allow_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description="Networks that may be fetched from although they are not public."
    )


class ConsumerSettings(_Section):
    """KFC: the workers between queue, Retina and archive."""

    processes: int = Field(1, ge=1, le=64, description="Consumers that `embark up` starts.")
    status_host: str = Field("127.0.0.1", description="Address of the consumer's status port.")
    status_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port for the consumer's own /metrics and /v2/health; 0 for none.",
    )
    max_in_flight: int = Field(
        256, ge=1, description="Requests taken from the queue and not finished, at most."
    )
    max_in_flight_bytes: int = Field(
        128 * _MIB, ge=_MIB, description="Bytes of inputs taken and not finished, at most."
    )
    max_bulk_in_flight: int = Field(
        64, ge=1, description="How many of those may be bulk, so that interactive work passes."
    )
    inferences: int = Field(
        16, ge=1, le=256, description="Inference requests at once, in each lane."
    )
    text_batch: int = Field(16, ge=1, le=1024, description="Texts in one inference request.")
    failure_seconds: float = Field(
        3600, gt=0, description="How long a failed input is remembered as failed."
    )
    gave_up_seconds: float = Field(
        300,
        gt=0,
        description="The same, for one that was given up after the last temporary failure.",
    )
    fetch: FetchSettings = FetchSettings()


class ClientSettings(_Section):
    """How the commands of this machine reach a gateway."""

    api_key: SecretStr = Field(SecretStr(""), description="Secret that they send; empty for none.")
    authority: Path | None = Field(
        None, description="File with the authority that signed the gateway's certificate, PEM."
    )


class TracingSettings(_Section):
    """Traces for an OpenTelemetry collector; off without an endpoint."""

    endpoint: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="Where traces go, OTLP over HTTP: `http://collector:4318/v1/traces`; empty for"
        " nowhere.",
    )
    ratio: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of requests that are followed, where the caller's trace does not say.",
    )


class LogSettings(_Section):
    """Logs."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Level.")
    format: Literal["console", "json"] = Field("console", description="For people or machines.")


class Settings(_Section):
    """All settings.

    Attributes:
        data: folder of the embedded archive, queue and logs.
    """

    data: Path = Field(Path("embark-data"), description="Folder of archive, queue and logs.")
    inputs: InputSettings = InputSettings()
    gateway: GatewaySettings = GatewaySettings()
    archive: ArchiveSettings = ArchiveSettings()
    queue: QueueSettings = QueueSettings()
    retina: RetinaSettings = RetinaSettings()
    consumer: ConsumerSettings = ConsumerSettings()
    client: ClientSettings = ClientSettings()
    tracing: TracingSettings = TracingSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _claims_have_a_home(self) -> Settings:
        if self.queue.backend == "kafka" and self.archive.backend != "cassandra":
            raise ValueError(
                "queue.backend kafka needs archive.backend cassandra: inputs too large for a"
                " Kafka record are kept there"
            )
        return self
