"""Every generated configuration, read by Triton's own protobuf."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

from embark.errors import ConfigurationError
from embark.inputs import Modality
from export.encoders import ENCODERS
from export.encoders.base import Encoder
from export.preprocessing import DTYPES, CustomPreprocessing, Tensor
from export.repository import write_configs
from export.triton_config import (
    BACKENDS,
    encoder_config,
    engine_file,
    front_config,
    present,
    retuned,
)
from export.tuning.record import Candidate, Tuning, read_tuning, write_tuning
from tests.support.stack import REPOSITORY

SHIPPED = pytest.mark.parametrize("encoder", ENCODERS.values(), ids=list(ENCODERS))
CANDIDATE = Candidate(
    front_instances=5, front_delay_us=700, encoder_instances=3, intra_op_threads=4
)
TUNING = Tuning(
    candidate=CANDIDATE,
    objective="p99<=50ms",
    throughput=100.0,
    p99_ms=40.0,
    concurrency=4,
    baseline_throughput=50.0,
    cores=16,
    measured_at="2026-01-01T00:00:00+00:00",
)


class Brought(Encoder):
    """An encoder of somebody else: every dtype, one input a batch."""

    name = "brought"
    modality = Modality.IMAGE
    dimension = 8
    max_batch_size = 1
    preprocessing = CustomPreprocessing(
        file="none.py", tensors=tuple(Tensor(dtype.upper(), dtype, (2, 3)) for dtype in DTYPES)
    )

    def module(self) -> Any:
        raise NotImplementedError


def parsed(text: str) -> ModelConfig:
    return text_format.Parse(text, ModelConfig())


def write(repository: Path, encoder: Encoder, tuning: Tuning | None = None) -> None:
    front, folder = repository / encoder.name, repository / f"{encoder.name}_encoder"
    front.mkdir()
    (folder / "configs").mkdir(parents=True)
    (front / "config.pbtxt").write_text(front_config(encoder, tuning))
    (folder / "config.pbtxt").write_text(encoder_config(encoder, "python", tuning))
    for backend in BACKENDS[1:]:
        path = folder / "configs" / f"{backend}.pbtxt"
        path.write_text(encoder_config(encoder, backend, tuning))


@SHIPPED
def test_the_committed_configurations_are_the_generated_ones(encoder: Encoder) -> None:
    tuning = read_tuning(REPOSITORY, encoder.name)
    folder = REPOSITORY / f"{encoder.name}_encoder"
    assert (REPOSITORY / encoder.name / "config.pbtxt").read_text() == front_config(encoder, tuning)
    assert (folder / "config.pbtxt").read_text() == encoder_config(encoder, "python", tuning)
    for backend in BACKENDS[1:]:
        committed = (folder / "configs" / f"{backend}.pbtxt").read_text()
        assert committed == encoder_config(encoder, backend, tuning)


@SHIPPED
def test_a_front_has_priorities_bounded_queues_and_every_version(encoder: Encoder) -> None:
    config = parsed(front_config(encoder))
    batching = config.dynamic_batching
    assert config.version_policy.WhichOneof("policy_choice") == "all"
    assert batching.priority_levels == 2
    assert set(batching.priority_queue_policy) == {1, 2}
    policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
    assert all(policy.max_queue_size > 0 for policy in policies)
    assert all(policy.default_timeout_microseconds > 0 for policy in policies)


@pytest.mark.parametrize("backend", BACKENDS)
@SHIPPED
def test_names_and_tensors_are_the_same_on_every_backend(encoder: Encoder, backend: str) -> None:
    config, python = parsed(encoder_config(encoder, backend)), parsed(encoder_config(encoder))
    assert (config.backend or config.platform) in {backend, "tensorrt_plan"}
    assert config.name == f"{encoder.name}_encoder"
    assert (config.input, config.output) == (python.input, python.output)
    assert config.max_batch_size == encoder.max_batch_size
    assert config.version_policy.WhichOneof("policy_choice") == "all"
    assert [request.batch_size for request in config.model_warmup] == [
        1,
        encoder.max_batch_size // 2,
    ]
    kinds = {"python": "KIND_CPU", "onnxruntime": "KIND_AUTO", "tensorrt": "KIND_GPU"}
    (group,) = config.instance_group
    assert ModelInstanceGroup.Kind.Name(group.kind) == kinds[backend]


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_encoder_batches_and_captures_graphs_only_where_shapes_are_fixed(backend: str) -> None:
    images = parsed(encoder_config(ENCODERS["inception_v3"], backend))
    texts = parsed(encoder_config(ENCODERS["minilm"], backend))
    assert images.HasField("dynamic_batching")
    assert not texts.HasField("dynamic_batching")
    assert images.optimization.cuda.graphs == (backend == "tensorrt")
    assert not texts.optimization.cuda.graphs
    sizes = [spec.batch_size for spec in images.optimization.cuda.graph_spec]
    assert sizes == ([1, 2, 4, 8, 16] if backend == "tensorrt" else [])


def test_every_dtype_of_a_brought_encoder_is_served_and_warmed_up() -> None:
    config = parsed(encoder_config(Brought()))
    assert {tensor.name for tensor in config.input} == {dtype.upper() for dtype in DTYPES}
    assert len({tensor.data_type for tensor in config.input}) == len(DTYPES)
    (warm_up,) = config.model_warmup
    assert warm_up.batch_size == 1
    assert {name: item.data_type for name, item in warm_up.inputs.items()} == {
        tensor.name: tensor.data_type for tensor in config.input
    }


def test_an_engine_is_chosen_by_the_gpu() -> None:
    text = encoder_config(ENCODERS["minilm"], "tensorrt", None, ("9.0", "8.6"))
    files = dict(parsed(text).cc_model_filenames)
    assert files == {"8.6": "model-sm86.plan", "9.0": "model-sm90.plan"}
    assert files["9.0"] == engine_file("9.0")


def test_a_tuning_reaches_what_runs_on_the_cpu() -> None:
    encoder = ENCODERS["minilm"]
    front = parsed(front_config(encoder, TUNING))
    assert front.instance_group[0].count == 5
    assert front.dynamic_batching.max_queue_delay_microseconds == 700
    names = {"python": "intra_op_threads", "onnxruntime": "intra_op_thread_count"}
    for backend, name in names.items():
        config = parsed(encoder_config(encoder, backend, TUNING))
        assert config.instance_group[0].count == 3
        assert config.parameters[name].string_value == "4"
    assert encoder_config(encoder, "tensorrt", TUNING) == encoder_config(encoder, "tensorrt")


def test_a_configuration_is_replaced_whole(tmp_path: Path) -> None:
    write_configs(tmp_path, ENCODERS["minilm"], 1, "python")
    before = {path: path.read_text() for path in tmp_path.rglob("*.pbtxt")}
    with ExitStack() as readers:
        opened = [readers.enter_context(path.open()) for path in before]
        write_tuning(tmp_path, "minilm", TUNING)
        write_configs(tmp_path, ENCODERS["minilm"], 1, "python")
        assert [file.read() for file in opened] == list(before.values())
    assert {path: path.read_text() for path in before} != before
    assert not list(tmp_path.rglob(".*"))


@SHIPPED
def test_retuning_gives_what_an_export_with_that_tuning_writes(
    encoder: Encoder, tmp_path: Path
) -> None:
    write(tmp_path, encoder)
    texts = retuned(tmp_path, encoder.name, CANDIDATE)
    assert {path: path.read_text() for path in texts} != texts
    for path, text in texts.items():
        path.write_text(text)
    assert present(tmp_path, encoder.name) == CANDIDATE
    again = tmp_path / "again"
    again.mkdir()
    write(again, encoder, TUNING)
    assert {again / path.relative_to(tmp_path): text for path, text in texts.items()} == {
        path: path.read_text() for path in again.rglob("*.pbtxt")
    }


def test_an_engine_has_nothing_to_tune(tmp_path: Path) -> None:
    write(tmp_path, ENCODERS["minilm"])
    folder = tmp_path / "minilm_encoder"
    shutil.copy(folder / "configs" / "tensorrt.pbtxt", folder / "config.pbtxt")
    with pytest.raises(ConfigurationError, match="minilm_encoder runs in tensorrt_plan"):
        present(tmp_path, "minilm")


@pytest.mark.parametrize("content", [None, "name: {"])
def test_an_unreadable_configuration_is_named(tmp_path: Path, content: str | None) -> None:
    write(tmp_path, ENCODERS["minilm"])
    path = tmp_path / "minilm" / "config.pbtxt"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=r"minilm/config\.pbtxt"):
        present(tmp_path, "minilm")
