"""What a dataset is, as a file in its folder says it, and the names of the other files.

The manifest is written last, into a folder that gets its name when it is complete.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embark.errors import ConfigurationError

MANIFEST_FILE = "dataset.json"
PARQUET_MANIFEST_FILE = "_dataset.json"
"""Of a folder of Parquet: tools that read the folder pass over such names."""

EMBEDDINGS_FILE = "embeddings.npy"
DIGESTS_FILE = "digests.npy"
ROWS_FILE = "rows.npy"
OOV_FILE = "oov.npy"
PARQUET_FILE = "embeddings.parquet"


class Format(str, enum.Enum):
    """How the vectors are written."""

    MEMMAP = "memmap"
    PARQUET = "parquet"


class Manifest(BaseModel):
    """The content of `dataset.json`, in a folder of Parquet `_dataset.json`.

    Attributes:
        version: of this layout.
        format: which files there are.
        model: public model name.
        generation: of every vector.
        dimension: length of a vector.
        dtype: of the numbers, `float16` or `float32`.
        count: vectors in the dataset.
        inputs: lines that were asked for, None if the whole generation was.
        missing: lines without a record; of a whole generation, records that were forgotten
            while it was written.
        failed: lines or records that say that an input cannot be embedded.
        corrupt: lines or records that fail their checks.
        created: when, in ISO 8601, UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    format: Format
    model: str
    generation: str
    dimension: int = Field(ge=1)
    dtype: Literal["float16", "float32"]
    count: int = Field(ge=0)
    inputs: int | None
    missing: int = Field(ge=0)
    failed: int = Field(ge=0)
    corrupt: int = Field(ge=0)
    created: str

    def write(self, folder: Path) -> None:
        """Write it into a dataset's folder."""
        text = self.model_dump_json(indent=2)
        name = MANIFEST_FILE if self.format is Format.MEMMAP else PARQUET_MANIFEST_FILE
        (folder / name).write_text(text + "\n", "utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a dataset of arrays.

    Raises:
        ConfigurationError: it is missing, as in a folder of Parquet, or not valid.
    """
    path = folder / MANIFEST_FILE
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError:
        raise ConfigurationError(
            f"{folder} is not a dataset of arrays: it has no {MANIFEST_FILE}; write one with"
            f" `embark archive export --format {Format.MEMMAP.value}`"
        ) from None
    except ValidationError as error:
        raise ConfigurationError(f"{path} is not valid: {error}") from error
