"""Writes a dataset as Parquet, with the inputs that the vectors came from. Needs pyarrow.

Columns: `key` (printed), `digest` (16 bytes), `kind` and `input` (text or URL; null where it is not
remembered, and for an image's bytes), `embedding` (list of `dimension` float16 or float32; null
where there is no vector), `written_at` (UTC, milliseconds).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from embark.dataset import digests as digesting
from embark.dataset.manifest import PARQUET_FILE
from embark.dataset.records import Page
from embark.errors import ConfigurationError
from embark.inputs import InputKind
from embark.keys import DIGEST_BYTES, Key
from embark.models import Model
from embark.sources import Source, Sources

if TYPE_CHECKING:
    import pyarrow

_ROW_GROUP_BYTES = 32 * 2**20


def require_pyarrow() -> None:
    """Return if pyarrow is installed.

    Raises:
        ConfigurationError: it is not.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise ConfigurationError("--format parquet needs pyarrow: pip install 'embark[parquet]'")


def write_parquet(
    folder: Path, pages: Iterable[Page], model: Model, sources: Sources, *, keep_missing: bool
) -> int:
    """Write pages in their order; returns how many vectors there are.

    Args:
        folder: of the dataset.
        pages: what was read.
        model: the generation.
        sources: what the vectors came from.
        keep_missing: whether a digest without a vector gets a row, with null in it.

    Raises:
        ArchiveUnavailable: the sources could not be read.
    """
    from pyarrow import parquet

    rows, count = _Rows(model, sources, keep_missing=keep_missing), 0
    # Only kinds repeat; of all else, a dictionary would cost time and memory and be given up.
    with parquet.ParquetWriter(
        folder / PARQUET_FILE, rows.schema, compression="zstd", use_dictionary=["kind"]
    ) as writer:
        waiting: list[pyarrow.RecordBatch] = []
        for page in pages:
            count += int(page.found.sum())
            waiting.append(rows.batch(page))
            if sum(batch.nbytes for batch in waiting) >= _ROW_GROUP_BYTES:
                _write_group(writer, waiting)
        _write_group(writer, waiting)
    return count


def _write_group(writer: pyarrow.parquet.ParquetWriter, batches: list[pyarrow.RecordBatch]) -> None:
    import pyarrow

    if batches:
        table = pyarrow.Table.from_batches(batches).combine_chunks()
        writer.write_table(table, row_group_size=max(1, len(table)))
        batches.clear()


class _Rows:
    """Turns pages into Arrow's record batches.

    Attributes:
        schema: of the file.
    """

    def __init__(self, model: Model, sources: Sources, *, keep_missing: bool) -> None:
        import pyarrow

        facts = model.facts
        number = pyarrow.float16() if facts.dtype == "float16" else pyarrow.float32()
        self._model: Final = model
        self._sources: Final = sources
        self._keep_missing: Final = keep_missing
        self.schema: Final = pyarrow.schema(
            [
                ("key", pyarrow.string()),
                ("digest", pyarrow.binary(DIGEST_BYTES)),
                ("kind", pyarrow.string()),
                ("input", pyarrow.string()),
                ("embedding", pyarrow.list_(number, facts.dimension)),
                ("written_at", pyarrow.timestamp("ms", tz="UTC")),
            ],
            metadata={
                "embark.model": facts.name,
                "embark.generation": facts.generation,
            },
        )

    def batch(self, page: Page) -> pyarrow.RecordBatch:
        import pyarrow

        if not self._keep_missing:
            kept = page.found
            page = Page(page.digests[kept], page.vectors[kept], page.written_ms[kept], kept[kept])
        digests = digesting.as_bytes(page.digests)
        sources = self._sources.get_many(self._model.name, digests)
        name, generation = self._model.name, self._model.generation
        absent = ~page.found
        numbers = pyarrow.array(page.vectors.reshape(-1))
        vectors = pyarrow.FixedSizeListArray.from_arrays(
            numbers, type=self.schema.field("embedding").type, mask=pyarrow.array(absent)
        )
        columns = [
            [str(Key(name, generation, digest)) for digest in digests],
            digests,
            [None if source is None else source.kind.value for source in sources],
            [_text(source) for source in sources],
            vectors,
            pyarrow.array(page.written_ms, self.schema.field("written_at").type, mask=absent),
        ]
        return pyarrow.RecordBatch.from_arrays(
            [
                pyarrow.array(column, field.type) if isinstance(column, list) else column
                for column, field in zip(columns, self.schema, strict=True)
            ],
            schema=self.schema,
        )


def _text(source: Source | None) -> str | None:
    if source is None or source.payload is None or source.kind is InputKind.IMAGE:
        return None
    return source.payload.decode("utf-8")
