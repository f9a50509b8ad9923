"""One export from beginning to end: weights → graph → verification → published version."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from embark.models import ModelFacts
from export import graph, identity
from export.encoders.base import Encoder
from export.repository import live_facts, next_version, write_configs, write_version

GRAPH_FILE = "model.onnx"
WEIGHTS_FILE = "weights.safetensors"


@dataclass(frozen=True)
class Export:
    """What an export did: the live facts, and how it was verified if it was made now."""

    facts: ModelFacts
    verification: graph.Verification | None


def export_model(
    encoder: Encoder,
    repository: Path,
    source: str,
    *,
    force: bool = False,
    report: Callable[[str], None] = lambda step: None,
) -> Export:
    """Export a model, unless its live version was made from the same recipe.

    Args:
        encoder: what to export.
        repository: the model repository; made if missing.
        source: where weights come from, see `Encoder.weights`.
        force: export even if the live version is up to date.
        report: told each step as it begins.

    Raises:
        ConfigurationError: the weights cannot be had.
        EmbArkError: the compiled encoder does not agree with PyTorch.
    """
    repository.mkdir(parents=True, exist_ok=True)
    recipe = identity.recipe(encoder, source)
    live = live_facts(repository, encoder.name)
    if live is not None and live.recipe == recipe and not force:
        write_configs(repository, encoder)
        return Export(live, None)
    return _export(encoder, repository, source, recipe, report)


def _export(
    encoder: Encoder, repository: Path, source: str, recipe: str, report: Callable[[str], None]
) -> Export:
    from safetensors.torch import save_file

    report("loading weights")
    weights = encoder.weights(source)
    module = graph.load_module(encoder, weights)
    facts = ModelFacts(
        name=encoder.name,
        modality=encoder.modality,
        dimension=encoder.dimension,
        dtype=encoder.dtype,
        generation=identity.generation(encoder, weights),
        version=next_version(repository, encoder.name),
        max_batch_size=encoder.max_batch_size,
        weights=weights.origin,
        recipe=recipe,
    )
    with tempfile.TemporaryDirectory(prefix="embark-export-") as folder:
        compiled = Path(folder) / GRAPH_FILE
        report("compiling to ONNX")
        graph.write_graph(encoder, module, compiled)
        report("verifying against PyTorch")
        verification = graph.verify(encoder, module, compiled)
        report("publishing")

        def write_encoder(target: Path) -> None:
            (target / GRAPH_FILE).write_bytes(compiled.read_bytes())
            state = {name: tensor.contiguous() for name, tensor in weights.state.items()}
            save_file(state, target / WEIGHTS_FILE)

        write_version(repository, encoder, facts, write_encoder)
    return Export(facts, verification)
