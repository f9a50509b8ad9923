"""One export from beginning to end: weights → graph → verification → published version."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embark.errors import ConfigurationError, EmbArkError
from embark.models import ModelFacts
from export import graph, identity
from export.comparison import Comparison
from export.encoders.base import Encoder, Weights
from export.engines import build_engine, current_capability, current_file
from export.repository import (
    add_engine,
    check_backend,
    check_compatible,
    newest_facts,
    next_version,
    without_engine,
    write_configs,
    write_version,
)
from export.serving.bfloat16 import NO_BFLOAT16, has_bfloat16, open_bfloat16
from export.verification import Verification

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
        is_exported: whether the newest version was made from this recipe.
        lacking: published versions that have no engine for this GPU and need one: Triton loads all
            versions of a model or none.
    """

    recipe: str
    newest: ModelFacts | None
    version: int
    is_exported: bool
    lacking: tuple[ModelFacts, ...] = ()

    @property
    def up_to_date(self) -> bool:
        """Whether there is nothing to do."""
        return self.is_exported and not self.lacking


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
    lacking: tuple[ModelFacts, ...] = ()
    if choices.for_engine:
        lacking = without_engine(repository, encoder.name, current_capability())
    if newest is not None and newest.recipe == recipe and not choices.force:
        return Plan(recipe, newest, newest.version, True, lacking)
    check_compatible(repository, encoder)
    version = next_version(repository, encoder.name)
    return Plan(recipe, newest, version, False, lacking)


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
    if plan.is_exported and plan.newest is not None:
        verification = _add_engines(encoder, repository, plan.lacking, choices, report)
        write_configs(repository, encoder, plan.version, choices.backend)
        return Export(plan.newest, written=bool(plan.lacking), verification=verification)
    report("loading weights")
    weights = encoder.weights(choices.weights)
    module = graph.load_module(encoder, weights)
    facts = _facts(encoder, weights, plan, choices)
    with tempfile.TemporaryDirectory(prefix="embark-export-") as folder:
        compiled = Path(folder) / GRAPH_FILE
        comparison = Comparison.with_module(encoder, module)
        _compile(encoder, module, compiled, choices, report)
        verification = engine = None
        if choices.verify:
            # That of an engine as well: it is published beside it.
            report("verifying against PyTorch")
            opened = open_bfloat16 if choices.precision == "bf16" else graph.open_graph
            verification = comparison.verify(opened(compiled), choices.precision)
        if choices.for_engine:
            engine = build_engine(encoder, compiled, report)
            if choices.verify:
                verification = _verify_engine(comparison, engine, choices.precision, report)
            _add_engines(encoder, repository, plan.lacking, choices, report)
        report("publishing")
        repository.mkdir(parents=True, exist_ok=True)

        def write_encoder(target: Path) -> None:
            shutil.copyfile(compiled, target / GRAPH_FILE)
            if engine is not None:
                shutil.copyfile(engine, target / current_file())
            _save(weights, target / WEIGHTS_FILE)

        write_version(repository, encoder, facts, write_encoder, choices.backend)
    return Export(facts, written=True, verification=verification)


def _facts(encoder: Encoder, weights: Weights, plan: Plan, choices: Choices) -> ModelFacts:
    return ModelFacts(
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


def _add_engines(
    encoder: Encoder,
    repository: Path,
    versions: Sequence[ModelFacts],
    choices: Choices,
    report: Report,
) -> Verification | None:
    """Put engines for this GPU into published versions, built from their own graphs.

    Returns:
        How near the last one is to its graph, None if none was verified.
    """
    verification = None
    for facts in versions:
        folder = repository / f"{encoder.name}_encoder" / str(facts.version)
        compiled = folder / GRAPH_FILE
        try:
            engine = build_engine(encoder, compiled, report)
            if choices.verify:
                comparison = Comparison.with_graph(encoder, compiled)
                verification = _verify_engine(comparison, engine, facts.precision, report)
        except EmbArkError as error:
            message = f"version {facts.version} of {encoder.name}: {error.message}"
            raise EmbArkError(message, code=error.code) from None
        add_engine(folder, engine, current_file())
    return verification


def _verify_engine(
    comparison: Comparison, engine: Path, precision: str, report: Report
) -> Verification:
    from export.tensorrt import Engine

    report("verifying the engine")
    return comparison.verify(Engine(engine).run, precision)


def _check_bfloat16(choices: Choices) -> None:
    if choices.backend != "python":
        raise ConfigurationError(
            f"bf16 is computed by OpenVINO, on --backend python; not on {choices.backend}"
        )
    if not has_bfloat16():
        raise ConfigurationError(NO_BFLOAT16)


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
