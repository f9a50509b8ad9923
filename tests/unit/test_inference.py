"""The Open Inference Protocol on real embedded stores, in the words of Triton's own client."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.http import InferResult

from embark.inputs import image_input, image_url_input
from embark.keys import Key, digest
from embark.queue.base import Lane
from embark.retina import INPUT_TENSOR
from gateway.views.inference.tensors import CONTENT_TENSOR
from tests.support.gateway import Service, json_of, service, vector_of
from tests.support.inference import (
    ALL_OUTPUTS,
    HEADER,
    IMAGE,
    URL,
    column,
    filled,
    infer,
    queued_keys,
    send,
    stored,
    tensor,
    words_key,
)
from tests.support.models import DIMENSION, GENERATION, facts, write_model

NEXT_GENERATION = "f" * 16


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Service]:
    with filled(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all tests that leave nothing behind."""
    with filled(tmp_path_factory.mktemp("shared")) as opened:
        yield opened


def test_inputs_are_named_as_retina_names_them() -> None:
    assert CONTENT_TENSOR == INPUT_TENSOR


@pytest.mark.parametrize("binary_input", [True, False])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("flat", [True, False])
def test_hits_are_the_same_whichever_form_they_take(
    shared: Service, binary_input: bool, binary: bool, flat: bool
) -> None:
    sent = tensor(["hit 1", "hit 0", "hit 1"], binary=binary_input, flat=flat)
    found = infer(shared, sent, ALL_OUTPUTS, binary=binary, request_id="7")
    vectors = found.as_numpy("EMBEDDING")
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, [stored(f"hit {one}") for one in (1, 0, 1)])
    expected: list[bytes] | list[str] = [b"hit"] * 3 if binary else ["hit"] * 3
    assert column(found, "STATUS") == expected
    assert column(found, "QUEUED") == [False] * 3
    head = found.get_response()
    assert (head["model_name"], head["model_version"], head["id"]) == ("words", "1", "7")


def test_without_named_outputs_all_come(shared: Service) -> None:
    found = infer(shared, tensor(["hit 1"]))
    assert [one["name"] for one in found.get_response()["outputs"]] == ALL_OUTPUTS
    assert column(found, "KEY") == [str(words_key("hit 1")).encode()]
    assert column(found, "GENERATION") == [GENERATION.encode()]


def test_the_letter_case_of_a_name_does_not_matter(shared: Service) -> None:
    found = infer(shared, tensor(["hit 1"], "text"), ["embedding"])
    np.testing.assert_array_equal(found.as_numpy("embedding"), [stored("hit 1")])


def test_float16_comes_as_it_is_stored(shared: Service) -> None:
    found = infer(shared, tensor(["hit 1"]), ["EMBEDDING"], parameters={"datatype": "FP16"})
    vectors = found.as_numpy("EMBEDDING")
    assert vectors.dtype == np.float16
    np.testing.assert_array_equal(vectors, [stored("hit 1")])


def test_a_vector_that_float16_cannot_hold_is_refused_as_float16(here: Service) -> None:
    key = Key("pictures", GENERATION, digest(image_input(b"large")))
    here.put_vector(key, np.full(DIMENSION, 1e6, np.float32))
    sent = tensor([b"large"], "IMAGE")
    assert infer(here, sent, path="pictures").as_numpy("EMBEDDING")[0, 0] == 1e6
    answer = send(here, sent, path="pictures", parameters={"datatype": "FP16"})
    assert answer.status_code == 400
    assert "FP32" in json_of(answer)["error"]


@pytest.mark.parametrize(
    ("name", "element"),
    [("IMAGE", IMAGE), ("IMAGE_URL", URL.encode()), ("KEY", None)],
)
def test_images_come_as_bytes_urls_and_keys(
    shared: Service, name: str, element: bytes | None
) -> None:
    content = image_input(IMAGE) if name != "IMAGE_URL" else image_url_input(URL)
    key = Key("pictures", GENERATION, digest(content))
    sent = tensor([element or str(key)], name)
    found = infer(shared, sent, ["EMBEDDING", "STATUS"], "pictures")
    assert column(found, "STATUS") == [b"hit"]
    np.testing.assert_array_equal(found.as_numpy("EMBEDDING"), [vector_of(key, DIMENSION)])


def test_json_carries_images_in_base64(shared: Service) -> None:
    one = {
        "name": "IMAGE",
        "shape": [1],
        "datatype": "BYTES",
        "parameters": {"content_type": "base64"},
        "data": [base64.b64encode(IMAGE).decode()],
    }
    answer = shared.http.post("/v2/models/pictures/infer", json={"inputs": [one]})
    assert json_of(answer)["outputs"][2]["data"] == ["hit"]


def test_a_raw_body_is_one_element_and_answered_in_binary(shared: Service) -> None:
    answer = shared.http.post("/v2/models/words/infer", data=b"hit 2", headers={HEADER: "0"})
    found = InferResult.from_response_body(answer.data, header_length=int(answer.headers[HEADER]))
    np.testing.assert_array_equal(found.as_numpy("EMBEDDING"), [stored("hit 2")])


def test_who_asks_for_the_status_is_answered_at_once(here: Service) -> None:
    sent = tensor(["hit 0", "a", "failed", b"\xff", "x" * 70_000])
    found = infer(here, sent, ["EMBEDDING", "STATUS", "REASON", "QUEUED", "KEY"])
    assert column(found, "STATUS") == [b"hit", b"oov", b"failed", b"invalid", b"invalid"]
    assert column(found, "QUEUED") == [False, True, False, False, False]
    assert column(found, "KEY")[3:] == [b"", b""]
    reasons = [one.partition(b":")[0] for one in column(found, "REASON")]
    assert reasons == [b"", b"", b"not_found", b"invalid_text", b"text_too_large"]
    np.testing.assert_array_equal(found.as_numpy("EMBEDDING")[0], stored("hit 0"))
    assert not found.as_numpy("EMBEDDING")[1:].any()
    assert queued_keys(here, 1) == [words_key("a")]


def test_who_does_not_ask_for_the_status_never_gets_a_placeholder(here: Service) -> None:
    cases: tuple[tuple[list[str | bytes], int, str], ...] = (
        (["hit 0", "a"], 503, "item 1: queued"),
        (["hit 0", "failed"], 422, "item 1: the reason"),
        ([b"\xff", "hit 0"], 400, "item 0: text is not valid UTF-8"),
    )
    for texts, status, what in cases:
        # Until the queue has what is missing, which takes as long as the disk does.
        for _ in range(500):
            answer = send(here, tensor(texts), ["EMBEDDING"], timeout=20_000)
            assert answer.status_code == status
            assert list(json_of(answer)) == ["error"]
            if what in json_of(answer)["error"]:
                break
        assert what in json_of(answer)["error"]
        assert ("Retry-After" in answer.headers) == (status == 503)
    assert queued_keys(here, 1) == [words_key("a")]


@pytest.mark.parametrize(
    ("parameters", "interactive", "bulk"),
    [
        ({"on_miss": "oov"}, 1, 0),
        ({"on_miss": "skip"}, 0, 0),
        ({"on_miss": "wait", "wait_ms": 20}, 1, 0),
        ({"on_miss": "oov", "priority": 1}, 1, 0),
        ({"on_miss": "oov", "priority": 2}, 0, 1),
    ],
)
def test_parameters_say_what_becomes_of_a_miss(
    here: Service, parameters: dict[str, Any], interactive: int, bulk: int
) -> None:
    options = dict(parameters)
    priority = options.pop("priority", 0)
    found = infer(here, tensor(["a"]), ["STATUS"], parameters=options, priority=priority)
    assert column(found, "STATUS") == [b"oov"]
    assert len(queued_keys(here, interactive)) == interactive
    assert len(queued_keys(here, bulk, Lane.BULK)) == bulk


def test_by_default_a_request_waits_for_its_vectors(here: Service) -> None:
    key = words_key("a")

    def write_when_queued() -> None:
        while not here.queue.take(Lane.INTERACTIVE, 1, 10**9):
            pass
        here.put_vector(key, vector_of(key, DIMENSION))

    writer = threading.Thread(target=write_when_queued)
    writer.start()
    found = infer(here, tensor(["a", "hit 0"]), ["EMBEDDING"])
    writer.join()
    np.testing.assert_array_equal(found.as_numpy("EMBEDDING"), [stored("a"), stored("hit 0")])
    (told,) = json_of(here.http.get("/v2/models/words/versions/1/stats"))["model_stats"]
    assert (told["inference_count"] >= 1, told["execution_count"] >= 1) == (True, True)


_TEXTS = [*(f"hit {number}" for number in range(4)), "failed", "miss 1", "miss 2", b"\xff"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(st.lists(st.sampled_from(_TEXTS), min_size=1, max_size=20), st.booleans())
def test_any_mixture_answers_each_element_as_if_it_were_alone(
    shared: Service, texts: list[str | bytes], binary: bool
) -> None:
    outputs = ["EMBEDDING", "STATUS", "REASON", "KEY"]
    options: dict[str, Any] = {"binary": binary, "parameters": {"on_miss": "skip"}}
    # A hit, so that the request is served whatever else is in it.
    together = infer(shared, tensor([*texts, "hit 0"]), outputs, **options)
    for position, text in enumerate(texts):
        alone = infer(shared, tensor([text, "hit 0"]), outputs, **options)
        for output in outputs:
            np.testing.assert_array_equal(
                together.as_numpy(output)[position], alone.as_numpy(output)[0]
            )


def test_a_version_is_a_generation(tmp_path: Path) -> None:
    write_model(tmp_path / "models", facts("words", generation=NEXT_GENERATION, version=2))
    with service(tmp_path) as here:
        here.put_vector(words_key("a"), vector_of(words_key("a"), DIMENSION))
        outputs = ["STATUS", "GENERATION"]
        for path, status, generation in (
            ("words", b"hit", GENERATION),
            ("words/versions/1", b"hit", GENERATION),
            ("words/versions/2", b"oov", NEXT_GENERATION),
        ):
            found = infer(here, tensor(["a"]), outputs, path)
            assert column(found, "STATUS") == [status]
            assert column(found, "GENERATION") == [generation.encode()]
        assert queued_keys(here, 1) == [words_key("a", NEXT_GENERATION)]
        assert json_of(here.http.get("/v2/models/words"))["versions"] == ["1", "2"]
        index = json_of(here.http.post("/v2/repository/index"))
        named = [(one["name"], one["version"], one["state"]) for one in index]
        assert named == [
            ("pictures", "1", "READY"),
            ("words", "1", "READY"),
            ("words", "2", "READY"),
        ]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/none", 404),
        ("GET", "/v2/models/words/versions/3/ready", 404),
        ("GET", "/v2/models/words/versions/x", 404),
        ("POST", "/v2/models/none/infer", 404),
        ("POST", "/v2/repository/models/words/load", 404),
        ("GET", "/v2/models/words/infer", 405),
    ],
)
def test_errors_have_triton_s_form(shared: Service, method: str, path: str, status: int) -> None:
    answer = shared.http.open(path, method=method)
    assert answer.status_code == status
    assert list(json_of(answer)) == ["error"]


def test_metadata_and_configuration_say_the_same(shared: Service) -> None:
    server = json_of(shared.http.get("/v2"))
    assert server["name"] == "embark"
    assert {"binary_tensor_data", "schedule_policy", "statistics"} <= set(server["extensions"])
    described = json_of(shared.http.get("/v2/models/pictures/versions/1"))
    config = json_of(shared.http.get("/v2/models/pictures/config"))
    for said, configured in (("inputs", "input"), ("outputs", "output")):
        assert [one["name"] for one in described[said]] == [
            one["name"] for one in config[configured]
        ]
        assert [one["shape"][1:] for one in described[said]] == [
            one["dims"] for one in config[configured]
        ]
    assert described["inputs"] == [{"name": "IMAGE", "datatype": "BYTES", "shape": [-1, 1]}]
    assert described["outputs"][0]["shape"] == [-1, DIMENSION]
    assert config["max_batch_size"] == 2048
    assert shared.http.get("/v2/models/pictures/ready").status_code == 200


def test_statistics_count_what_was_asked(here: Service) -> None:
    def told() -> dict[str, Any]:
        (one,) = json_of(here.http.get("/v2/models/words/stats"))["model_stats"]
        return {
            "last": one["last_inference"],
            **{name: pair for name, pair in one["inference_stats"].items()},
        }

    before = told()
    infer(here, tensor(["hit 0", "hit 1", "a"]), ["STATUS"])
    send(here, tensor(["failed"]), ["EMBEDDING"])
    after = told()
    more = {name: after[name]["count"] - before[name]["count"] for name in before if name != "last"}
    assert (more["success"], more["fail"], more["queue"]) == (1, 1, 1)
    assert (more["cache_hit"], more["cache_miss"], more["compute_infer"]) == (2, 1, 0)
    for name in ("success", "fail", "cache_hit", "cache_miss"):
        assert after[name]["ns"] > before[name]["ns"]
    assert after["last"] > before["last"]
