"""`python -m examples.duplicates FOLDER`: write a catalogue with known duplicates."""

from __future__ import annotations

import argparse
from pathlib import Path

from examples.duplicates.catalogue import ITEMS_FILE, PAIRS_FILE, generate


def main() -> None:
    """Write it, and say what to do with it."""
    parser = argparse.ArgumentParser(prog="python -m examples.duplicates", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--products", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    pairs = generate(options.folder, options.products, options.seed)
    copies = sum(pair.duplicate for pair in pairs)
    print(f"{options.products} products, {copies} copies, {len(pairs) - copies} look-alikes")
    print(f"embark duplicates --items {options.folder / ITEMS_FILE} --report report.html")
    print(f"what is true: {options.folder / PAIRS_FILE}")


if __name__ == "__main__":
    main()
