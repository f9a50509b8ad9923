from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embark.errors import ConfigurationError, NotFound
from embark.models import FACTS_FILE, OOV_FILE, load_catalogue
from tests.support.models import DIMENSION, facts, write_model


def test_the_generation_that_was_exported_first_is_live(tmp_path: Path) -> None:
    for version in (2, 3, 10):
        write_model(tmp_path, facts("m", version=version, generation=f"{version:016x}"))
    (tmp_path / "m" / "1").mkdir()
    (tmp_path / "m" / ".new-12").mkdir()
    catalogue = load_catalogue(tmp_path)
    assert catalogue["m"].generation == f"{2:016x}"
    assert [one.facts.version for one in catalogue.generations("m")] == [2, 3, 10]
    assert catalogue.served("m", f"{3:016x}") == catalogue.generations("m")[1]
    assert catalogue.served("m", f"{1:016x}") is None


def test_a_generation_is_served_by_its_highest_version(tmp_path: Path) -> None:
    for version, generation in ((1, 1), (2, 2), (10, 1)):
        write_model(tmp_path, facts("m", version=version, generation=f"{generation:016x}"))
    catalogue = load_catalogue(tmp_path)
    assert catalogue["m"].facts.version == 10
    assert [one.facts.version for one in catalogue.generations("m")] == [2, 10]


def test_the_oov_vector_is_zero_or_from_its_file(tmp_path: Path) -> None:
    write_model(tmp_path, facts("zero"))
    folder = write_model(tmp_path, facts("own"))
    np.save(folder / OOV_FILE, np.ones(DIMENSION))
    models = load_catalogue(tmp_path)
    assert not models["zero"].oov.any()
    assert models["own"].oov.tolist() == [1.0] * DIMENSION
    np.save(folder / OOV_FILE, np.ones(DIMENSION + 1))
    with pytest.raises(ConfigurationError, match="shape"):
        load_catalogue(tmp_path)


def test_an_unknown_model_is_named_with_those_that_exist(tmp_path: Path) -> None:
    write_model(tmp_path, facts("m"))
    with pytest.raises(NotFound, match=r"'x'.*m"):
        load_catalogue(tmp_path)["x"]


def test_broken_and_moved_facts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="embark export"):
        load_catalogue(tmp_path / "none")
    folder = write_model(tmp_path, facts("m"))
    folder.parent.rename(tmp_path / "renamed")
    with pytest.raises(ConfigurationError, match="renamed"):
        load_catalogue(tmp_path)
    (tmp_path / "renamed" / "1" / FACTS_FILE).write_text("{}")
    with pytest.raises(ConfigurationError, match=FACTS_FILE):
        load_catalogue(tmp_path)
