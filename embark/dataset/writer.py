"""Writes a dataset out of an archive, into a folder that gets its name when it is complete.

Reads the archive itself, while others write to it; what is written to it meanwhile may be left out.
Vectors never change, so that two exports of one generation differ only in which vectors there are.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from embark.backends import Backends
from embark.dataset import digests as digesting
from embark.dataset.digests import Digests
from embark.dataset.manifest import OOV_FILE, Format, Manifest
from embark.dataset.memmap import write_memmap, write_rows
from embark.dataset.parquet import require_pyarrow, write_parquet
from embark.dataset.records import RecordReader, Report
from embark.errors import BadRequest, ConfigurationError
from embark.inputs import Input
from embark.keys import digest
from embark.models import Model
from embark.sources import Sources
from embark.syncing import sync


def write_dataset(
    backends: Backends,
    model: Model,
    output: Path,
    form: Format,
    *,
    inputs: Iterable[Input] | None = None,
    report: Report = lambda done, total: None,
) -> Manifest:
    """Write the vectors of a generation.

    Args:
        backends: archive and ledger.
        model: the generation.
        output: folder; must not exist.
        form: how to write.
        inputs: only these, and in this order; None for every record of the generation, in the
            order of digests. An input may come several times.
        report: told how many vectors are written, of how many.

    Raises:
        ArchiveUnavailable: the archive could not be read.
        BadRequest: the output exists.
        ConfigurationError: a package is missing, or the output cannot be written.
    """
    if form is Format.PARQUET:
        require_pyarrow()
    with _finished(output) as folder:
        reader = RecordReader(backends.store, model)
        lines = None if inputs is None else digesting.as_array(map(digest, inputs))
        if form is Format.MEMMAP:
            count = _memmap(folder, reader, lines, report)
            np.save(folder / OOV_FILE, model.oov.astype(np.float32))
        else:
            count = _parquet(folder, reader, lines, report, Sources(backends.ledger))
        manifest = Manifest(
            format=form,
            model=model.name,
            generation=model.generation,
            dimension=model.facts.dimension,
            dtype="float16" if model.facts.dtype == "float16" else "float32",
            count=count,
            inputs=None if lines is None else len(lines),
            missing=reader.missing,
            failed=reader.failed,
            corrupt=reader.corrupt,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
        manifest.write(folder)
    return manifest


def _memmap(folder: Path, reader: RecordReader, lines: Digests | None, report: Report) -> int:
    facts = reader.model.facts
    if lines is None:
        pages = reader.pages(reader.all_digests(report), report)
        return write_memmap(folder, pages, facts.dimension, facts.dtype)
    wanted, times = digesting.distinct(lines)
    pages = reader.pages(wanted, report, times)
    count = write_memmap(folder, pages, facts.dimension, facts.dtype)
    write_rows(folder, lines)
    return count


def _parquet(
    folder: Path, reader: RecordReader, lines: Digests | None, report: Report, sources: Sources
) -> int:
    wanted = reader.all_digests(report) if lines is None else lines
    pages, keep = reader.pages(wanted, report), lines is not None
    return write_parquet(folder, pages, reader.model, sources, keep_missing=keep)


@contextmanager
def _finished(output: Path) -> Iterator[Path]:
    """Give a folder beside `output`; it becomes `output` if nothing goes wrong in between."""
    if output.exists():
        raise BadRequest(f"{output} exists; remove it, or choose another --output")
    unfinished = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        yield unfinished
        for path in (*unfinished.iterdir(), unfinished):
            sync(path)
        unfinished.rename(output)
        sync(output.parent)
    except OSError as error:
        raise ConfigurationError(f"{output} cannot be written: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
