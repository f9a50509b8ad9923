"""What is malformed in an infer request is refused as such, before anything is allocated for it."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.gateway import Service, json_of, service
from tests.support.inference import HEADER, filled


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with filled(tmp_path_factory.mktemp("shared")) as opened:
        yield opened


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_compressed_bodies_are_read_and_bounded(
    tmp_path: Path, encoding: str, compress: Any
) -> None:
    with service(tmp_path, gateway__max_body_bytes=4096) as small:
        body = json.dumps(
            {"inputs": [{"name": "TEXT", "shape": [1], "datatype": "BYTES", "data": ["a"]}],
             "outputs": [{"name": "STATUS"}]}
        ).encode()  # fmt: skip
        for plain, status in ((body, 200), (body + b" " * 10**6, 413)):
            answer = small.http.post(
                "/v2/models/words/infer",
                data=compress(plain),
                headers={"Content-Encoding": encoding},
            )
            assert answer.status_code == status


def one_input(**changes: Any) -> dict[str, Any]:
    known = {"name": "TEXT", "shape": [1], "datatype": "BYTES", "data": ["hit 0"]}
    return {name: value for name, value in {**known, **changes}.items() if value is not None}


BINARY = {"data": None, "parameters": {"binary_data_size": 9}}
MALFORMED: list[tuple[Any, bytes]] = [
    ([], b""),
    ({}, b""),
    ({"inputs": []}, b""),
    ({"inputs": [one_input(), one_input()]}, b""),
    ({"inputs": [3]}, b""),
    ({"inputs": [one_input(name=3)]}, b""),
    ({"inputs": [one_input(name="IMAGES")]}, b""),
    ({"inputs": [one_input(name="IMAGE")]}, b""),
    ({"inputs": [one_input(datatype="FP32")]}, b""),
    *(
        ({"inputs": [one_input(name=name, **spoiled)]}, b"")
        for name in ("\ud800", "x" * 10**6)
        for spoiled in (
            {},
            {"datatype": "FP32"},
            {"shape": [0]},
            {"shape": [10**12]},
            {"shape": [2]},
            {"data": None},
            {"data": [3]},
            {"parameters": {"binary_data_size": 3}},
            {"data": None, "parameters": {"binary_data_size": 3}},
        )
    ),
    ({"inputs": [one_input()], "outputs": [{"name": "\ud800"}]}, b""),
    ({"inputs": [one_input(data=None)]}, b""),
    ({"inputs": [one_input(data=[3])]}, b""),
    ({"inputs": [one_input(data=[[["a"]]])]}, b""),
    ({"inputs": [one_input(data=["a", "b"])]}, b""),
    *(
        ({"inputs": [one_input(shape=shape)]}, b"")
        for shape in (
            [],
            [0],
            [-1],
            [True],
            [1.0],
            [1, 2],
            [1, 1, 1],
            [10**12],
            [10**30],
            "1",
            None,
        )
    ),
    ({"inputs": [one_input()], "parameters": {"binary_data_output": 1}}, b""),
    ({"inputs": [one_input()], "parameters": [1]}, b""),
    ({"inputs": [one_input()], "parameters": {"on_miss": "maybe"}}, b""),
    ({"inputs": [one_input()], "parameters": {"wait_ms": 10**9}}, b""),
    ({"inputs": [one_input()], "parameters": {"timeout": -1}}, b""),
    ({"inputs": [one_input()], "parameters": {"priority": "high"}}, b""),
    ({"inputs": [one_input()], "parameters": {"datatype": "INT8"}}, b""),
    ({"inputs": [one_input()], "id": 3}, b""),
    ({"inputs": [one_input()], "outputs": "STATUS"}, b""),
    ({"inputs": [one_input()], "outputs": [{"name": "LOGITS"}]}, b""),
    (
        {
            "inputs": [one_input()],
            "outputs": [{"name": "KEY", "parameters": {"classification": 2}}],
        },
        b"",
    ),
    ({"inputs": [one_input(parameters={"shared_memory_region": "a"}, data=None)]}, b""),
    ({"inputs": [one_input()]}, b"left over"),
    ({"inputs": [one_input(**{**BINARY, "data": ["a"]})]}, b"\5\0\0\0hit 0"),
    ({"inputs": [one_input(**BINARY)]}, b"\5\0\0\0hit"),
    ({"inputs": [one_input(**BINARY)]}, b"\6\0\0\0hit 0"),
    ({"inputs": [one_input(**BINARY)]}, b"\4\0\0\0hit 0"),
    ({"inputs": [one_input(**BINARY)]}, b"\xff\xff\xff\xffhit 0"),
    ({"inputs": [one_input(**BINARY, shape=[3])]}, b"\1\0\0\0a\0\0\0\0"),
    ({"inputs": [one_input(data=None, parameters={"binary_data_size": 10**18})]}, b"\0"),
    ({"inputs": [one_input(data=None, parameters={"binary_data_size": -4})]}, b"\0"),
    ({"inputs": [one_input(data=None, parameters={"binary_data_size": "9"})]}, b"\0"),
]


@pytest.mark.parametrize(("head", "tail"), MALFORMED)
def test_a_malformed_request_is_refused_in_triton_s_form(
    shared: Service, head: Any, tail: bytes
) -> None:
    text = json.dumps(head).encode()
    headers = {HEADER: str(len(text))} if tail else {}
    answer = shared.http.post("/v2/models/words/infer", data=text + tail, headers=headers)
    assert answer.status_code in (400, 413), answer.text
    assert len(json_of(answer)["error"]) < 300
    assert list(json_of(answer)) == ["error"]


@pytest.mark.parametrize("length", ["-1", "1e3", "", " ", "99999999", "9" * 5000, "²", "1_0"])
def test_a_header_length_that_lies_is_refused(shared: Service, length: str) -> None:
    answer = shared.http.post(
        "/v2/models/words/infer",
        data=json.dumps({"inputs": [one_input()]}),
        headers={HEADER: length.encode().decode("latin-1")},
    )
    assert (answer.status_code, list(json_of(answer))) == (400, ["error"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.binary(max_size=150), st.integers(0, 200), st.sampled_from(["", "gzip", "deflate"]))
def test_no_body_is_an_internal_error(
    shared: Service, noise: bytes, length: int, encoding: str
) -> None:
    valid = json.dumps({"inputs": [one_input(**BINARY)]}).encode()
    for body in (noise, valid + noise, valid[: length % len(valid)] + noise):
        for headers in ({}, {HEADER: str(length)}, {HEADER: str(len(valid))}):
            sent = {**headers, **({"Content-Encoding": encoding} if encoding else {})}
            path = "/v2/models/words/infer"
            # Raw bodies may be texts, and unknown ones wait.
            if headers.get(HEADER) != "0":
                assert shared.http.post(path, data=body, headers=sent).status_code < 500
