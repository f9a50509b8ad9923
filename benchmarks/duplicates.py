"""What `embark duplicates --items` finds in catalogues with known duplicates, and how fast it is.

`python -m benchmarks.duplicates`: generates catalogues (`examples.duplicates`) of seeds that the
default rules were not fitted on, has their vectors computed by a platform of its own, and counts
what is found by text, by image and by both; with the default rules, and with rules calibrated to
another seed's pairs. `--fit` prints rules fitted to the fitting seeds: the origin of
`embark.duplicates.deciding.DEFAULT_RULES`. Then 10^5 items with synthetic vectors go through the
steps that follow the fetching, in a process of its own, for time and peak memory.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from embark.client import Client
from embark.duplicates.calibrating import LEAST_OF_EACH, calibrate, cutoff_for, fit, rules_of
from embark.duplicates.deciding import DEFAULT_RULES, Basis, Rule, Rules, score
from embark.duplicates.finding import Finder, Group, Side
from embark.duplicates.items import Catalogue, Columns, Item, read_catalogue, read_labels
from embark.duplicates.space import Space
from embark.duplicates.vectors import Limits, Vectors, bring
from embark.inputs import Modality
from examples.duplicates import texts
from examples.duplicates.catalogue import ITEMS_FILE, PAIRS_FILE, generate
from examples.duplicates.pictures import COLOURS, SHAPES
from tests.support.stack import running

FITTING = (
    (1, 240, "inception_v3"),
    (1, 240, "resnet50"),
    (4, 240, "inception_v3"),
    (11, 40, "inception_v3"),
)
HELD_OUT = ((2, 240, "inception_v3"), (3, 240, "inception_v3"), (12, 40, "inception_v3"))
"""Seed, products, image model."""

PRECISION = 0.95
FITTED_PRECISION = 0.97
"""Of the default rules on what they are fitted to: other catalogues are less kind."""
PRIOR = {
    Basis.BOTH: Rule((3.0, 8.0, -8.0, -5.0), -3.0, 0.0),
    Basis.TEXT: Rule((8.0, -8.0, -8.0), -3.0, 0.0),
    Basis.IMAGE: Rule((12.0,), -6.0, 0.0),
}
"""What the default rules are held near. Without it the cosine of texts would count for nothing
beside a picture: in these catalogues a text that is repeated for another item is as common as a
paraphrase, which it is nowhere else."""

_IMAGE_BYTES = 2**25

console = Console(highlight=False, stderr=True)


@dataclass(frozen=True)
class Loaded:
    """A generated catalogue with its vectors; `kinds` of pairs by both ids."""

    name: str
    catalogue: Catalogue
    vectors: Vectors
    kinds: dict[tuple[str, str], tuple[bool, str, str]]

    def finder(self, *, text: bool = True, image: bool = True) -> Finder:
        return Finder(
            self.catalogue.items,
            self.vectors.text if text else None,
            self.vectors.image if image else None,
        )


@dataclass(frozen=True)
class Found:
    """One way's result on one catalogue; recall by kind of alteration, wrong pairs by kind."""

    catalogue: str
    by: str
    rules: str
    items: int
    precision: float
    recall: float
    recall_by_image: dict[str, float]
    recall_by_text: dict[str, float]
    wrong: dict[str, int]


def load(client: Client, folder: Path, seed: int, products: int, image_model: str) -> Loaded:
    here = folder / f"{seed}-{products}"
    if not here.exists():
        generate(here, products, seed)
    catalogue = read_catalogue(here / ITEMS_FILE, Columns())
    by_name = {model["name"]: model for model in client.models()}
    models = {Modality.TEXT: by_name["minilm"], Modality.IMAGE: by_name[image_model]}
    limits = Limits(here / "work", _IMAGE_BYTES, 120, retry_failed=False)
    vectors = bring(client, catalogue, models, limits, lambda *_: None)
    with (here / PAIRS_FILE).open(encoding="utf-8") as file:
        kinds = {
            (row["id_a"], row["id_b"]): (
                row["duplicate"] == "1", row["image_kind"], row["text_kind"],
            )
            for row in csv.DictReader(file)
        }  # fmt: skip
    return Loaded(f"seed {seed}, {products} products", catalogue, vectors, kinds)


def fitted(loaded: Sequence[Loaded]) -> dict[Basis, Rule]:
    """Return rules fitted to all candidates of some catalogues.

    What a basis cannot know is left out: by text alone, items of the same text; by picture alone,
    items of the same picture.
    """
    unknowable = {
        Basis.BOTH: (), Basis.TEXT: ("other picture",),
        Basis.IMAGE: ("other size", "other product"),
    }  # fmt: skip
    rules = {}
    for basis, left_out in unknowable.items():
        columns, labels = [], []
        for one in loaded:
            finder = one.finder(text=basis is not Basis.IMAGE, image=basis is not Basis.TEXT)
            pairs, duplicates = _candidates(one, finder, left_out)
            features, _ = finder.labelled(pairs)
            columns.append(features[:, basis.columns])
            labels.append(duplicates)
        design, wanted = np.concatenate(columns), np.concatenate(labels)
        rule = fit(design, wanted, PRIOR[basis])
        cutoff = cutoff_for(score(design, rule), wanted, FITTED_PRECISION)
        rules[basis] = Rule(tuple(round(one, 2) for one in rule.weights), round(rule.bias, 2),
                            round(cutoff, 2))  # fmt: skip
    return rules


def _candidates(
    one: Loaded, finder: Finder, left_out: Sequence[str]
) -> tuple[list[tuple[int, int, bool]], np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    items = one.catalogue.items
    positions = {item.id: position for position, item in enumerate(items)}
    pairs = {(min(a, b), max(a, b)): False for a, b in _items_of(finder, finder.candidates(_quiet))}
    for (first, second), (duplicate, kind, _) in one.kinds.items():
        a, b = sorted((positions[first], positions[second]))
        pairs[a, b] = duplicate
        if kind in left_out:
            del pairs[a, b]
    listed = [(a, b, duplicate) for (a, b), duplicate in sorted(pairs.items())]
    return listed, np.array([duplicate for _, _, duplicate in listed])


def _items_of(finder: Finder, pairs: Any) -> Iterator[tuple[int, int]]:
    items = finder.node_items()
    for first, second in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
        yield items[first][0], items[second][0]


def _quiet(stage: str, done: int, total: int) -> None:
    pass


def measure(one: Loaded, by: str, rules_name: str, rules: Rules) -> Found:
    finder = one.finder(text=by != "image", image=by != "text")
    return counted(one, by, rules_name, finder.groups(rules, _quiet))


def counted(one: Loaded, by: str, rules: str, groups: Sequence[Group]) -> Found:
    ids = [item.id for item in one.catalogue.items]
    group_of = {ids[m.item]: number for number, group in enumerate(groups) for m in group.members}
    together = sum(len(group.members) * (len(group.members) - 1) // 2 for group in groups)
    total: dict[str, Counter[str]] = {"image": Counter(), "text": Counter()}
    right: dict[str, Counter[str]] = {"image": Counter(), "text": Counter()}
    wrong: Counter[str] = Counter()
    for (first, second), (duplicate, image_kind, text_kind) in one.kinds.items():
        joined = first in group_of and group_of[first] == group_of.get(second)
        if duplicate:
            for name, kind in (("image", image_kind), ("text", text_kind)):
                total[name][kind] += 1
                right[name][kind] += joined
        elif joined:
            wrong[image_kind] += 1
    true = right["image"].total()
    wrong["other items"] = together - true - wrong.total()
    shares = {
        name: {kind: right[name][kind] / total[name][kind] for kind in sorted(total[name])}
        for name in total
    }
    return Found(
        one.name, by, rules, len(ids), true / together if together else float("nan"),
        true / total["image"].total(), shares["image"], shares["text"], dict(wrong),
    )  # fmt: skip


def scale(count: int, folder: Path) -> dict[str, Any]:
    """Time the steps after the fetching on synthetic vectors and real wordings.

    A tenth of the items are copies. A vector is its product family's (one of 500) and its own, and
    all have a strong common part, as an encoder's have.
    """
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_scale, (count, folder))


def _scale(count: int, folder: Path) -> dict[str, Any]:
    rng, words = np.random.default_rng(0), random.Random(0)
    of = np.where(rng.random(count) < 0.1, rng.integers(0, count, count), np.arange(count))
    of = of[of]
    products = [texts.invent(words.choice(SHAPES), words.choice(list(COLOURS)), words)
                for _ in range(count)]  # fmt: skip
    items = [
        Item(str(number), texts.title(products[source]) if source == number
             else texts.paraphrase(products[source], words), f"{number}.jpg")
        for number, source in enumerate(of.tolist())
    ]  # fmt: skip
    rows = np.arange(count)
    arrays = {
        name: _synthetic(folder / name, count, dimension, of, noise)
        for name, dimension, noise in (("text", 384, 0.3), ("image", 2048, 0.4))
    }
    empty = {name: np.empty((0, array.shape[1]), np.float32) for name, array in arrays.items()}
    # Of the processor: what else runs on the machine does not count.
    seconds: dict[str, float] = {}
    started, began = time.process_time(), time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sides = {name: Side(Space(array, rows, empty[name]), rows) for name, array in arrays.items()}
    finder = Finder(items, sides["text"], sides["image"])
    stages: list[tuple[str, float]] = [("spaces", time.process_time())]

    def report(stage: str, done: int, total: int) -> None:
        if done == total:
            stages.append((stage, time.process_time()))

    groups = finder.groups(DEFAULT_RULES, report)
    stages.append(("groups", time.process_time()))
    for stage, at in stages:
        seconds[stage] = round(at - started, 1)
        started = at
    return {
        "items": count,
        "groups": len(groups),
        "processor_seconds": seconds,
        "processor_seconds_in_all": round(sum(seconds.values()), 1),
        "wall_seconds": round(time.perf_counter() - began, 1),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "mib_before": round(before),
    }


def _synthetic(path: Path, count: int, dimension: int, of: Any, noise: float) -> Any:
    rng = np.random.default_rng(dimension)
    families = rng.normal(size=(500, dimension)).astype(np.float32)
    common = 3 * rng.normal(size=dimension).astype(np.float32)
    family = rng.integers(0, 500, count)[of]
    vectors = np.memmap(path, np.float16, "w+", shape=(count, dimension))
    for at in range(0, count, 4096):
        sources = of[at : at + 4096]
        own = np.stack([
            np.random.default_rng(int(source)).standard_normal(dimension, np.float32)
            for source in sources
        ])  # fmt: skip
        own += noise * rng.standard_normal(own.shape, np.float32)
        vectors[at : at + 4096] = common + families[family[at : at + 4096]] + own
    return vectors


@contextmanager
def _service(url: str | None, folder: Path) -> Iterator[str]:
    with nullcontext() if url else running(folder / "data") as stack:
        yield url or stack.url  # type: ignore[union-attr]


def show(found: Sequence[Found], scaled: Mapping[str, Any] | None) -> None:
    table = Table("catalogue", "by", "rules", "precision", "recall", "wrong")
    for one in found:
        wrong = ", ".join(f"{kind} {count}" for kind, count in one.wrong.items() if count)
        table.add_row(one.catalogue, one.by, one.rules, f"{one.precision:.3f}",
                      f"{one.recall:.3f}", wrong)  # fmt: skip
    output = Console(highlight=False, width=140)
    output.print(table)
    for side in ("image", "text"):
        kinds = sorted({kind for one in found for kind in getattr(one, f"recall_by_{side}")})
        table = Table(f"recall by {side}", "by", "rules", *kinds)
        for one in found:
            shares = getattr(one, f"recall_by_{side}")
            table.add_row(one.catalogue, one.by, one.rules,
                          *(f"{shares[kind]:.2f}" for kind in kinds))  # fmt: skip
        output.print(table)
    if scaled is not None:
        output.print(json.dumps(scaled))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.duplicates", description=__doc__)
    parser.add_argument("--url", help="a running service, instead of a platform of its own")
    parser.add_argument("--folder", type=Path, help="where catalogues and vectors are kept")
    parser.add_argument("--fit", action="store_true", help="print rules for the fitting seeds")
    parser.add_argument("--scale", type=int, default=100_000, help="0 for none")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="embark-duplicates-") as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found: list[Found] = []
        with _service(args.url, Path(temporary)) as url, Client(url) as client:
            first = FITTING if args.fit else FITTING[:1]
            known = [load(client, folder, *one) for one in first]
            held_out = [load(client, folder, *one) for one in HELD_OUT]
        if args.fit:
            for basis, rule in fitted(known).items():
                print(basis, rule)
        catalogue = known[0].catalogue
        pairs = catalogue.path.with_name(PAIRS_FILE)
        labels = read_labels(pairs, catalogue.items, LEAST_OF_EACH)
        features, duplicates = known[0].finder().labelled(labels.pairs)
        calibrated = rules_of(calibrate(features, duplicates, PRECISION))
        for one in held_out:
            found += [
                measure(one, by, "default", DEFAULT_RULES) for by in ("both", "text", "image")
            ]
            found.append(measure(one, "both", "calibrated", calibrated))
        scaled = scale(args.scale, Path(temporary)) if args.scale else None
    show(found, scaled)
    if args.json is not None:
        figures = {"cores": os.cpu_count(), "found": [asdict(one) for one in found],
                   "scale": scaled}  # fmt: skip
        args.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
