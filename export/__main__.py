"""`python -m export`: exports models into a Triton model repository."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

from embark import config
from embark.errors import EmbArkError
from export.encoders import ENCODERS, find
from export.exporting import Export, export_model


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(ENCODERS))
        return 0
    names = list(ENCODERS) if options.all else options.model
    if not names:
        parser.error("name a model, or --all")
    try:
        repository = options.output or config.load().settings.retina.model_repository
        encoders = [find(name) for name in names]
        exports = [
            export_model(
                encoder,
                repository,
                options.weights,
                force=options.force,
                report=partial(_say, encoder.name),
            )
            for encoder in encoders
        ]
    except EmbArkError as error:
        print(f"export: {error.message}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps([_as_json(export) for export in exports]))
    else:
        for export in exports:
            print(_as_text(export))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="embark export", description=__doc__)
    parser.add_argument("model", nargs="*", help="models to export; see --list")
    parser.add_argument("--all", action="store_true", help="export every model")
    parser.add_argument("--list", action="store_true", help="list the models and end")
    parser.add_argument("--output", type=Path, help="model repository to write")
    parser.add_argument(
        "--weights",
        default="auto",
        help="auto, torchvision, seeded, or a file (default: auto, pretrained if they can be had)",
    )
    parser.add_argument("--force", action="store_true", help="export even if up to date")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _say(name: str, step: str) -> None:
    print(f"{name}: {step}", file=sys.stderr, flush=True)


def _as_json(export: Export) -> dict[str, object]:
    facts = export.facts.model_dump(mode="json", exclude={"recipe"})
    verification = None if export.verification is None else asdict(export.verification)
    status = "up_to_date" if verification is None else "exported"
    return {**facts, "status": status, "verification": verification}


def _as_text(export: Export) -> str:
    facts = export.facts
    line = f"{facts.name} version {facts.version}, generation {facts.generation}: {facts.weights}"
    if export.verification is None:
        return f"{line}; up to date"
    checked = export.verification
    return (
        f"{line}; verified on {checked.inputs} inputs: cosine {checked.min_cosine:.6f},"
        f" largest difference {checked.max_difference:.1e}"
    )


if __name__ == "__main__":
    sys.exit(main())
