"""`python -m benchmarks.gateway PART …`: measure parts, each into its own file; write the tables.

python -m benchmarks.gateway                       all parts, then the tables
python -m benchmarks.gateway lookups known         some parts
python -m benchmarks.gateway table                 the tables of docs/benchmarks.md
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.gateway import results
from benchmarks.gateway.options import Options
from benchmarks.gateway.parts import PARTS
from benchmarks.gateway.place import Stopped, place_in
from benchmarks.gateway.table import PAGE, write_tables

_TABLE = "table"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Options()
    parser.add_argument("parts", nargs="*", choices=[*PARTS, _TABLE, []], metavar="PART")
    parser.add_argument("--rounds", type=int, default=default.rounds)
    parser.add_argument("--seconds", type=float, default=default.seconds, help="of one slice")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--no-peers", action="store_true", help="only EmbArk and the floor")
    parser.add_argument(
        "--vectors", type=int, default=default.vectors, help="most vectors that growth goes to"
    )
    parser.add_argument("--results", type=Path, default=results.FOLDER, metavar="FOLDER")
    parser.add_argument("--page", type=Path, default=PAGE, metavar="FILE")
    given = parser.parse_args(arguments)
    options = Options(given.rounds, given.seconds, given.quick, not given.no_peers, given.vectors)
    status = 0
    for name in given.parts or [*PARTS, _TABLE]:
        if name == _TABLE:
            write_tables(given.results, given.page)
        elif not _measure(name, options, given.results):
            status = 1
    return status


def _measure(name: str, options: Options, folder: Path) -> bool:
    started = time.monotonic()

    def report(line: str) -> None:
        print(f"{name} {time.monotonic() - started:5.0f} s  {line}", file=sys.stderr, flush=True)

    work = Path(tempfile.mkdtemp(prefix=f"embark-bench-{name}-"))
    try:
        with place_in(work / "place", report) as place:
            measured = PARTS[name](place, options)
    except Stopped as error:
        report(f"stopped: {error}")
        return False
    finally:
        shutil.rmtree(work, ignore_errors=True)
    report(f"written to {results.write(measured, folder)}")
    for note in measured.notes:
        report(note)
    return True


if __name__ == "__main__":
    sys.exit(main())
