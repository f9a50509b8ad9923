"""`python -m export`: exports models into a Triton model repository."""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from dataclasses import asdict
from pathlib import Path

from embark import config
from embark.errors import ConfigurationError, EmbArkError
from embark.inputs import Modality
from export import progress
from export.encoders import ENCODERS
from export.encoders.base import Encoder
from export.exporting import Choices, Export, Plan, export_model, plan_export
from export.sources import open_encoder
from export.sources.options import Options
from export.triton_config import BACKENDS

_FAILED, _USAGE = 1, 2
_PRECISIONS = ("fp32", "fp16", "bf16", "int8")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 0 done, 1 failed, 2 wrong usage or setting."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(ENCODERS))
        return 0
    targets = list(ENCODERS) if options.all else options.model
    if not targets:
        parser.error("name a model, or --all")
    if options.name is not None and len(targets) > 1:
        parser.error("--name names one model")
    try:
        return _run(options, targets)
    except EmbArkError as error:
        _show(error, as_json=options.json)
        return _USAGE if isinstance(error, ConfigurationError) else _FAILED


def _run(options: argparse.Namespace, targets: list[str]) -> int:
    repository = options.output or config.load().settings.retina.model_repository
    choices = Choices(
        weights=options.weights,
        precision=options.precision,
        backend=options.backend,
        force=options.force,
        verify=options.verify,
    )
    brought = Options(**{name: getattr(options, name) for name in Options.__dataclass_fields__})
    encoders = [open_encoder(target, options.name, brought) for target in targets]
    if options.dry_run:
        plans = [(one, plan_export(one, repository, choices)) for one in encoders]
        found = [_planned(encoder, plan, choices) for encoder, plan in plans]
        print(json.dumps(found) if options.json else "\n".join(map(_planned_text, found)))
        return 0
    exports = []
    with progress.shown() as steps:
        for encoder in encoders:
            steps.begin(encoder.name)
            exports.append(export_model(encoder, repository, choices, steps.step))
            steps.end("exported" if exports[-1].written else "up to date")
    if options.json:
        print(json.dumps([_as_json(export) for export in exports]))
    else:
        print("\n".join(map(_as_text, exports)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="embark export", description=__doc__)
    parser.add_argument(
        "model",
        nargs="*",
        help="shipped models (see --list), module:Class, a folder of transformers or"
        " sentence-transformers, or an .onnx file",
    )
    parser.add_argument("--all", action="store_true", help="export every shipped model")
    parser.add_argument("--list", action="store_true", help="list the shipped models and end")
    parser.add_argument("--name", help="public name of a brought model")
    parser.add_argument("--output", type=Path, help="model repository to write")
    parser.add_argument(
        "--weights",
        default="auto",
        help="auto, torchvision, seeded, or a file (default: auto, pretrained if they can be had)",
    )
    parser.add_argument(
        "--precision", choices=_PRECISIONS, default="fp32", help="arithmetic (default: fp32)"
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="python",
        help="what runs the encoder in Triton (default: python, which is ONNX Runtime)",
    )
    parser.add_argument(
        "--verify",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="compare with PyTorch before publishing (default: yes)",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and end")
    parser.add_argument("--force", action="store_true", help="export even if up to date")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    _add_options(parser.add_argument_group("folders and ONNX files"))
    return parser


def _add_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--modality",
        type=Modality,
        choices=list(Modality),
        metavar="{text,image}",
        help="what an ONNX file embeds",
    )
    group.add_argument("--size", type=int, help="side of the square of pixels")
    group.add_argument("--resize", type=int, help="shorter side before the square is cut out")
    group.add_argument("--stretch", action="store_true", help="fit the whole image into the square")
    group.add_argument("--interpolation", default="bilinear", help="bilinear or bicubic")
    group.add_argument("--mean", type=_channels, help="three numbers, as 0.485,0.456,0.406")
    group.add_argument("--std", type=_channels, help="three numbers, as 0.229,0.224,0.225")
    group.add_argument("--tokenizer", type=Path, help="a tokenizer.json")
    group.add_argument("--max-tokens", type=int, help="longer texts are cut there")
    group.add_argument("--pooling", help="from token vectors to one: mean, cls or none")
    group.add_argument("--normalise", action="store_true", help="scale vectors to length 1")
    group.add_argument("--prefix", default="", help="put before every text")
    group.add_argument("--graph-output", help="which output of an ONNX file is the embedding")


def _channels(text: str) -> tuple[float, float, float]:
    red, green, blue = (float(part) for part in text.split(","))
    return red, green, blue


def _show(error: EmbArkError, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"error": {"code": error.code, "message": error.message}}))
    if error.__cause__ is not None:
        # What failed is often a user's own code, and only its traceback says where.
        traceback.print_exception(error.__cause__)
    print(f"export: {error.message}", file=sys.stderr)


def _planned(encoder: Encoder, plan: Plan, choices: Choices) -> dict[str, object]:
    return {
        "name": encoder.name,
        "status": _status(plan),
        "version": plan.version,
        "generation": plan.newest.generation if plan.is_exported and plan.newest else None,
        "modality": encoder.modality.value,
        "dimension": encoder.dimension,
        "weights": choices.weights,
        "precision": choices.precision,
        "backend": choices.backend,
    }


def _status(plan: Plan) -> str:
    if not plan.is_exported:
        return "would_export"
    return "up_to_date" if plan.up_to_date else "would_build_engine"


def _planned_text(plan: dict[str, object]) -> str:
    what = f"{plan['name']} version {plan['version']}"
    if plan["status"] == "up_to_date":
        return f"{what}, generation {plan['generation']}: up to date"
    if plan["status"] == "would_build_engine":
        return f"{what}, generation {plan['generation']}: engines for this GPU would be built"
    return (
        f"{what}: would be exported; {plan['modality']} to {plan['dimension']} dimensions, weights"
        f" {plan['weights']}, {plan['precision']}, backend {plan['backend']}"
    )


def _as_json(export: Export) -> dict[str, object]:
    facts = export.facts.model_dump(mode="json", exclude={"recipe"})
    verification = None if export.verification is None else asdict(export.verification)
    status = "exported" if export.written else "up_to_date"
    return {**facts, "status": status, "verification": verification}


def _as_text(export: Export) -> str:
    facts = export.facts
    line = f"{facts.name} version {facts.version}, generation {facts.generation}: {facts.weights}"
    if not export.written:
        return f"{line}; up to date"
    checked = export.verification
    if checked is None:
        return f"{line}; not verified"
    agreed = "" if checked.neighbours is None else f", neighbours {checked.neighbours:.3f}"
    return (
        f"{line}; verified on {checked.inputs} inputs: cosine {checked.min_cosine:.6f},"
        f" largest difference {checked.max_difference:.1e}{agreed}"
    )


if __name__ == "__main__":
    sys.exit(main())
