"""One export from beginning to end: weights → graph → verification → published version."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embark.errors import ConfigurationError
from embark.models import ModelFacts
from export import graph, identity
from export.encoders.base import Encoder, Weights
from export.engines import build_engine, capabilities, check_buildable, place
from export.repository import (
    check_backend,
    check_compatible,
    newest_facts,
    next_version,
    write_configs,
    write_version,
)
from export.serving.bfloat16 import NO_BFLOAT16, has_bfloat16, open_bfloat16
from export.serving.preparer import Tensors
from export.verification import Verification, verify

if TYPE_CHECKING:
    import torch

GRAPH_FILE = "model.onnx"
WEIGHTS_FILE = "weights.safetensors"

Report = Callable[[str], None]


@dataclass(frozen=True)
class Choices:
    """What is chosen for an export.

    Attributes:
        weights: where they come from, see `Encoder.weights`.
        precision: one of `export.precision.PRECISIONS`.
        backend: one of `export.triton_config.BACKENDS`; the main one, others stay possible.
        force: export even if the newest version is up to date.
        verify: compare with PyTorch before publishing.
    """

    weights: str = "auto"
    precision: str = "fp32"
    backend: str = "python"
    force: bool = False
    verify: bool = True

    @property
    def for_engine(self) -> bool:
        """Whether a TensorRT engine is wanted."""
        return self.backend == "tensorrt"

    @property
    def arithmetic(self) -> str:
        """What the numbers depend on: TensorRT has an int8 of its own."""
        return "int8 of engines" if self.for_engine and self.precision == "int8" else self.precision


DEFAULT = Choices()


@dataclass(frozen=True)
class Plan:
    """What an export would do.

    Attributes:
        recipe: digest of what it is made from.
        newest: the newest version that is there, None if there is none.
        version: the number that is up to date, or that would be written.
        up_to_date: whether there is nothing to do.
    """

    recipe: str
    newest: ModelFacts | None
    version: int
    up_to_date: bool


@dataclass(frozen=True)
class Export:
    """What an export did.

    Attributes:
        facts: of the version that is up to date now.
        written: whether it was made now.
        verification: how, None if it was not written or not verified.
    """

    facts: ModelFacts
    written: bool
    verification: Verification | None


def plan_export(encoder: Encoder, repository: Path, choices: Choices) -> Plan:
    """Return what `export_model` would do; writes nothing.

    Raises:
        ConfigurationError: the encoder cannot be published under its name there.
    """
    if choices.precision not in encoder.precisions:
        raise ConfigurationError(
            f"{encoder.name} cannot be compiled for {choices.precision}; it can for"
            f" {' and '.join(encoder.precisions)}"
        )
    if choices.precision == "bf16":
        _check_bfloat16(choices)
    check_backend(repository, encoder.name, choices.backend)
    recipe = identity.recipe(encoder, choices.weights, choices.arithmetic)
    newest = newest_facts(repository, encoder.name)
    same = newest is not None and newest.recipe == recipe and not choices.force
    if same and choices.for_engine and newest is not None:
        same = bool(capabilities(repository / f"{encoder.name}_encoder" / str(newest.version)))
    if same and newest is not None:
        return Plan(recipe, newest, newest.version, up_to_date=True)
    check_compatible(repository, encoder)
    return Plan(recipe, newest, next_version(repository, encoder.name), up_to_date=False)


def export_model(
    encoder: Encoder,
    repository: Path,
    choices: Choices = DEFAULT,
    report: Report = lambda step: None,
) -> Export:
    """Export a model, unless its newest version was made from the same recipe.

    Args:
        encoder: what to export.
        repository: the model repository; made if missing.
        choices: see `Choices`.
        report: told each step as it begins.

    Raises:
        ConfigurationError: the weights cannot be had, or the encoder is not what it states.
        EmbArkError: the compiled encoder does not agree with PyTorch.
    """
    plan = plan_export(encoder, repository, choices)
    if plan.up_to_date and plan.newest is not None:
        write_configs(repository, encoder, plan.version, choices.backend)
        return Export(plan.newest, written=False, verification=None)
    if choices.for_engine:
        check_buildable()
    report("loading weights")
    weights = encoder.weights(choices.weights)
    module = graph.load_module(encoder, weights)
    facts = ModelFacts(
        name=encoder.name,
        modality=encoder.modality,
        dimension=encoder.dimension,
        dtype=encoder.dtype,
        generation=identity.generation(encoder, weights, choices.arithmetic),
        version=plan.version,
        max_batch_size=encoder.max_batch_size,
        precision=choices.precision,
        weights=weights.origin,
        recipe=plan.recipe,
    )
    with tempfile.TemporaryDirectory(prefix="embark-export-") as folder:
        compiled = Path(folder) / GRAPH_FILE
        inputs = _Inputs(encoder, module)
        _compile(encoder, module, compiled, choices, report)
        engine = build_engine(encoder, compiled, report) if choices.for_engine else None
        verification = None
        if choices.verify:
            report("verifying against PyTorch")
            verification = inputs.verify(compiled, engine, choices.precision)
        report("publishing")
        repository.mkdir(parents=True, exist_ok=True)

        def write_encoder(target: Path) -> None:
            shutil.copyfile(compiled, target / GRAPH_FILE)
            if engine is not None:
                shutil.copyfile(engine, place(target))
            _save(weights, target / WEIGHTS_FILE)

        write_version(repository, encoder, facts, write_encoder, choices.backend)
    return Export(facts, written=True, verification=verification)


def _check_bfloat16(choices: Choices) -> None:
    if choices.backend != "python":
        raise ConfigurationError(
            f"bf16 is computed by OpenVINO, on --backend python; not on {choices.backend}"
        )
    if not has_bfloat16():
        raise ConfigurationError(NO_BFLOAT16)


class _Inputs:
    """The encoder's samples, prepared, and PyTorch's vectors of them.

    Made before compiling: of a module that is not what it states, this says so most clearly.
    """

    def __init__(self, encoder: Encoder, module: torch.nn.Module) -> None:
        self._encoder = encoder
        self._prepared = graph.prepare(encoder, graph.samples_of(encoder))
        self._expected = graph.reference_vectors(encoder, module, self._prepared)
        if len(self._expected) > 1 and (self._expected == self._expected[0]).all():
            raise ConfigurationError(
                f"{encoder.name}: all {len(self._expected)} samples have the same vector; look at"
                " the weights, or give samples() that differ"
            )

    def verify(self, compiled: Path, engine: Path | None, precision: str) -> Verification:
        """Compare what will be served with PyTorch."""
        if precision == "bf16":
            run = open_bfloat16(compiled)
        elif engine is None:
            run = graph.open_graph(compiled)
        else:
            from export.tensorrt import Engine

            run = Engine(engine).run
        return verify(
            self._encoder.name,
            run,
            self._expected,
            self._batch,
            self._encoder.threshold(precision),
            max_batch_size=self._encoder.max_batch_size,
        )

    def _batch(self, positions: Sequence[int]) -> Tensors:
        return self._encoder.preparer.collate([self._prepared[one] for one in positions])


def _compile(
    encoder: Encoder, module: torch.nn.Module, target: Path, choices: Choices, report: Report
) -> None:
    """Write the graph to be served to `target`."""
    report("compiling to ONNX")
    if choices.precision == "fp16":
        from export.precision import halved

        encoder.write_graph(halved(module), target)
    else:
        encoder.write_graph(module, target)
    if choices.precision == "int8":
        from export.precision import write_int8

        report("calibrating")
        exact = target.rename(target.with_name("exact.onnx"))
        prepared = graph.prepare(encoder, graph.calibration_of(encoder))
        tensors = [encoder.preparer.collate([one]) for one in prepared]
        write_int8(exact, target, encoder.int8_method, tensors, for_engine=choices.for_engine)


def _save(weights: Weights, path: Path) -> None:
    from safetensors.torch import save_file

    # Copies, because tied weights share memory, which the format has no way to say.
    state = {name: tensor.detach().clone().contiguous() for name, tensor in weights.state.items()}
    save_file(state, path)
