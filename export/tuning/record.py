"""What a tuning found, kept as `<repository>/<name>/tuning.json` so that later exports keep it."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embark.errors import ConfigurationError

TUNING_FILE = "tuning.json"


class Candidate(BaseModel):
    """The numbers of a model's two `config.pbtxt` that are chosen by measurement.

    Attributes:
        front_instances: processes that prepare inputs.
        front_delay_us: longest that a request waits for others to join its batch, microseconds.
        encoder_instances: copies of the encoder that compute at the same time.
        intra_op_threads: threads of each copy; 0 is ONNX Runtime's own choice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    front_instances: int = Field(ge=1)
    front_delay_us: int = Field(ge=0)
    encoder_instances: int = Field(ge=1)
    intra_op_threads: int = Field(ge=0)

    def __str__(self) -> str:
        return (
            f"{self.encoder_instances} encoder(s) x {self.intra_op_threads or 'default'} thread(s),"
            f" {self.front_instances} front(s), delay {self.front_delay_us} us"
        )


class Tuning(BaseModel):
    """A candidate, and how it was measured.

    Attributes:
        candidate: what was chosen.
        objective: bounds that it meets, such as `p99<=50ms`.
        throughput: inputs per second.
        p99_ms: latency of a request of one input, milliseconds.
        concurrency: requests in flight at which both were measured.
        baseline_throughput: of the settings before, in the same run; None if they did not meet the
            objective.
        cores: CPU cores that the measuring process could use.
        measured_at: UTC, ISO 8601.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidate: Candidate
    objective: str
    throughput: float = Field(gt=0)
    p99_ms: float = Field(gt=0)
    concurrency: int = Field(ge=1)
    baseline_throughput: float | None
    cores: int = Field(ge=1)
    measured_at: str


def read_tuning(repository: Path, name: str) -> Tuning | None:
    """Return what was kept for a model, None if it was never tuned.

    Raises:
        ConfigurationError: the file is there and damaged.
    """
    path = repository / name / TUNING_FILE
    try:
        return Tuning.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ConfigurationError(
            f"{path} is not a valid tuning: {error}; run `embark tune {name}` again, or delete it"
        ) from error


def write_tuning(repository: Path, name: str, tuning: Tuning) -> None:
    """Keep a tuning, whole or not at all."""
    replace_text(repository / name / TUNING_FILE, tuning.model_dump_json(indent=2) + "\n")


def replace_text(path: Path, text: str) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    unfinished = path.with_name(f".{path.name}.new")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
