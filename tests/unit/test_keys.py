from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embark.errors import BadRequest
from embark.inputs import Input, InputKind, canonical_url, image_url_input, text_input
from embark.keys import Key, digest, parse_key

names = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,20}", fullmatch=True)
generations = st.from_regex(r"[0-9a-f]{16}", fullmatch=True)


def test_a_million_random_inputs_share_no_digest() -> None:
    made = {digest(Input(InputKind.TEXT, number.to_bytes(4, "big"))) for number in range(10**6)}
    assert len(made) == 10**6


def test_the_kind_of_an_input_is_part_of_its_digest() -> None:
    url = "http://example.com/a.png"
    assert len({digest(Input(kind, url.encode())) for kind in InputKind}) == len(InputKind)


@given(names, generations, st.binary(min_size=16, max_size=16))
def test_a_printed_key_reads_back(model: str, generation: str, name: bytes) -> None:
    key = Key(model, generation, name)
    assert parse_key(str(key)) == key


@given(st.text())
def test_any_other_text_is_refused_as_a_key(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_key(text + "!")


def test_texts_differ_by_code_points() -> None:
    assert digest(text_input("é")) != digest(text_input("e\u0301"))
    with pytest.raises(BadRequest):
        text_input("\ud800")


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("HTTP://Example.COM", "http://example.com/"),
        ("https://example.com:443/A?b=C#d", "https://example.com/A?b=C"),
        ("http://example.com:8080/", "http://example.com:8080/"),
        ("http://[::1]/x", "http://[::1]/x"),
    ],
)
def test_urls_are_made_canonical(url: str, canonical: str) -> None:
    assert canonical_url(url) == canonical
    assert canonical_url(canonical) == canonical


@pytest.mark.parametrize(
    "url",
    ["", "x", "ftp://a/b", "file:///etc/passwd", "http://", "http://u:p@a/", "http://a/ b",
     "http://a/\n", "http://ä/", "http://a:99999/", "http://[::1/", "http:\\\\a"],
)  # fmt: skip
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(BadRequest):
        image_url_input(url)


@given(st.text())
def test_no_text_breaks_the_url_parser(text: str) -> None:
    try:
        canonical = canonical_url("http://" + text)
    except BadRequest:
        return
    assert canonical_url(canonical) == canonical
