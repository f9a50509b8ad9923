"""Where requests end, however their bytes are cut up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embark.errors import BadRequest, PayloadTooLarge
from gateway.server.framing import MAX_HEAD_BYTES, Body, ChunkedBody, LengthBody, head_end


def feed(body: Body, sent: bytes, cuts: list[int]) -> tuple[bytes | None, bytes]:
    """Give a body its bytes in pieces; returns the whole body and what is left."""
    buffer, last = bytearray(), 0
    for cut in [*sorted(cut % (len(sent) + 1) for cut in cuts), len(sent)]:
        buffer += sent[last:cut]
        last = cut
        whole = body.take(buffer)
        if whole is not None:
            return whole, bytes(buffer) + sent[last:]
    return None, bytes(buffer)


def in_chunks(data: bytes, sizes: list[int]) -> bytes:
    sent, at = bytearray(), 0
    for size in [*sizes, len(data)]:
        piece = data[at : at + max(1, size)]
        if piece:
            sent += b"%x\r\n%b\r\n" % (len(piece), piece)
        at += max(1, size)
    return bytes(sent) + b"0\r\n\r\n"


_CUTS = st.lists(st.integers(0, 10_000), max_size=8)


@given(st.binary(max_size=300), st.binary(max_size=30), _CUTS)
def test_a_body_of_known_length_comes_out_as_sent(
    data: bytes, rest: bytes, cuts: list[int]
) -> None:
    assert feed(LengthBody(len(data), 1000), data + rest, cuts) == (data, rest)


@given(st.binary(max_size=300), st.lists(st.integers(1, 50), max_size=20), st.binary(), _CUTS)
def test_a_body_in_chunks_comes_out_as_sent(
    data: bytes, sizes: list[int], rest: bytes, cuts: list[int]
) -> None:
    assert feed(ChunkedBody(1000), in_chunks(data, sizes) + rest, cuts) == (data, rest)


@given(st.binary(max_size=400), _CUTS)
def test_anything_else_is_refused_or_waits_for_more(sent: bytes, cuts: list[int]) -> None:
    try:
        whole, _ = feed(ChunkedBody(50), sent, cuts)
    except BadRequest as error:
        assert error.code in ("malformed", "body_too_large")
    else:
        assert whole is None or len(whole) <= 50


def test_bodies_beyond_the_limit_are_refused_before_they_come() -> None:
    with pytest.raises(PayloadTooLarge):
        LengthBody(11, 10)
    with pytest.raises(PayloadTooLarge):
        ChunkedBody(10).take(bytearray(b"b\r\n"))
    with pytest.raises(PayloadTooLarge):
        feed(ChunkedBody(10), in_chunks(bytes(11), [5]), [])


@pytest.mark.parametrize(
    "sent",
    [
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"1_0\r\n",
        b"\r\n",
        b"1\n",
        b"1;\x00\r\n",
        b"123456789\r\n",
        b"1\r\nabc",
        b"1" * 2000,
        b"0\r\n" + b"a: b\r\n" * 5000,
    ],
)
def test_framing_that_could_be_read_in_two_ways_is_refused(sent: bytes) -> None:
    with pytest.raises(BadRequest):
        whole = feed(ChunkedBody(10**6), sent + b"\r\n" * 600, [])
        assert whole[0] is not None


@given(st.binary(max_size=100).filter(lambda head: b"\r\n\r\n" not in head + b"\r\n\r"), _CUTS)
def test_a_head_ends_at_its_empty_line(head: bytes, cuts: list[int]) -> None:
    sent = head + b"\r\n\r\nbody"
    buffer, searched = bytearray(), 0
    for byte in sent:
        end = head_end(buffer, searched)
        if end is not None:
            break
        searched = len(buffer)
        buffer.append(byte)
    assert head_end(buffer, searched) == len(head) + 4


def test_a_head_without_end_is_refused() -> None:
    assert head_end(bytearray(MAX_HEAD_BYTES), 0) is None
    with pytest.raises(BadRequest):
        head_end(bytearray(MAX_HEAD_BYTES + 1), 0)
