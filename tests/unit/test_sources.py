"""What is remembered of inputs, on the real embedded ledger."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embark.inputs import Input, InputKind
from embark.settings import SourceSettings
from embark.sources import Source, Sources, Validators, _decode, _encode
from embark.store.lmdb import LmdbStore
from embark.store.lmdb_ledger import LmdbLedger
from tests.support.clock import Clock

DIGEST = bytes(range(16))


@given(st.sampled_from(InputKind), st.binary(max_size=300), st.text(max_size=20), st.text())
def test_a_source_is_read_as_it_was_written(
    kind: InputKind, payload: bytes, etag: str, modified: str
) -> None:
    source = Source(kind, payload, Validators(etag, modified))
    assert _decode(_encode(source, with_payload=True)) == source
    assert source.item == Input(kind, payload)
    forgotten = _decode(_encode(source, with_payload=False))
    assert (forgotten.kind, forgotten.item, forgotten.validators) == (kind, None, source.validators)


@pytest.mark.parametrize("kind", InputKind)
def test_the_settings_say_what_is_remembered(tmp_path: Path, kind: InputKind) -> None:
    names = {
        InputKind.TEXT: "texts",
        InputKind.IMAGE: "images",
        InputKind.IMAGE_URL: "urls",
    }
    store = LmdbStore(tmp_path, 2**24)
    for remembered in (True, False):
        settings = SourceSettings.model_validate({names[kind]: remembered})
        sources = Sources(LmdbLedger(store), settings)
        sources.remember("m", {DIGEST: Source(kind, b"content")})
        (found,) = sources.get_many("m", [DIGEST])
        assert found is not None
        assert found.payload == (b"content" if remembered else None)
        assert [name for page in sources.digests("m") for name in page] == [DIGEST]
    sources.forget("m", [DIGEST])
    assert sources.get_many("m", [DIGEST]) == [None]
    store.close()


def test_sources_are_kept_as_long_as_was_set(tmp_path: Path) -> None:
    store, clock = LmdbStore(tmp_path, 2**24), Clock()
    for days, kept in ((1, False), (0, True)):
        sources = Sources(LmdbLedger(store, clock), SourceSettings(days=days))
        sources.remember("m", {DIGEST: Source(InputKind.TEXT, b"a")})
        clock.now += 86_400 + 1
        assert (sources.get_many("m", [DIGEST]) != [None]) is kept
    store.close()
