"""An infer request read from a body, and an answer written as one.

A body is JSON, or JSON and then tensors in binary, or one tensor's content alone (raw). What it
says of its sizes is checked before anything is allocated for it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from embark.errors import BadRequest, PayloadTooLarge
from gateway.body import flag, parse_json, quoted
from gateway.views.inference.tensors import OUTPUTS, Output, split_elements

HEADER_LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True, slots=True)
class Asked:
    """One output that a request asks for.

    Attributes:
        name: as the client spells it.
        binary: whether it is to come in binary.
    """

    name: str
    binary: bool


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What an infer request says.

    Attributes:
        tensor: name of its input, in capitals; None if it is raw, of the model's own input.
        elements: the input's elements.
        outputs: what it asks for.
        names_outputs: whether it named them; if not, they are all there are.
        parameters: of the request.
        id: to be repeated in the answer.
    """

    tensor: str | None
    elements: Sequence[bytes]
    outputs: Sequence[Asked]
    names_outputs: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None


def read_request(body: bytes, header_length: str | None, most: int) -> InferRequest:
    """Return what a body says; `header_length` is the header of that name, None without it.

    Raises:
        BadRequest: it is malformed in any way, or its input has more than `most` elements.
    """
    if header_length is None:
        return _structured(body, memoryview(b""), most)
    # int() would take signs, spaces and underscores, and time for very many digits.
    if not (header_length.isdecimal() and header_length.isascii() and len(header_length) < 20):
        raise _bad(f"{HEADER_LENGTH} must be a number")
    length = int(header_length)
    if length > len(body):
        raise _bad(f"{HEADER_LENGTH} is {length}; the body has {len(body)} bytes")
    if length == 0:
        return InferRequest(None, [body], [Asked(name, True) for name in OUTPUTS])
    return _structured(body[:length], memoryview(body)[length:], most)


def write_answer(
    head: dict[str, Any], outputs: Sequence[tuple[Output, bool]]
) -> tuple[bytes, int | None]:
    """Return an answer's body, and the length of its JSON if tensors follow in binary.

    Args:
        head: fields beside `outputs`.
        outputs: each with whether it comes in binary.
    """
    described: list[dict[str, object]] = []
    tensors: list[bytes | memoryview] = []
    for output, binary in outputs:
        one: dict[str, object] = {
            "name": output.name,
            "datatype": output.datatype,
            "shape": output.shape,
        }
        if binary:
            tensors.append(data := output.binary())
            one["parameters"] = {"binary_data_size": len(data)}
        else:
            one["data"] = output.json()
        described.append(one)
    text = orjson.dumps({**head, "outputs": described}, option=orjson.OPT_SERIALIZE_NUMPY)
    if not tensors:
        return text, None
    return b"".join([text, *tensors]), len(text)


def _structured(text: bytes, tensors: memoryview, most: int) -> InferRequest:
    parsed = _object(parse_json(text), "the request")
    parameters = _object(parsed.get("parameters") or {}, "parameters")
    name, id_ = parsed.get("id"), None
    if name is not None and not isinstance(name, str):
        raise _bad("id must be a string")
    if name and not name.isascii() and name.encode("utf-8", "replace").decode() != name:
        raise _bad("id is not valid Unicode")
    id_ = name or None
    inputs = parsed.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1:
        count = len(inputs) if isinstance(inputs, list) else "no list of"
        raise _bad(f"inputs must be a list of one tensor; it has {count}")
    tensor = _object(inputs[0], "the input")
    elements = _elements(tensor, tensors, most)
    asked = parsed.get("outputs") or []
    default = flag(parameters, "binary_data_output", False)
    if not isinstance(asked, list):
        raise _bad("outputs must be a list")
    outputs = [_asked(one, default) for one in asked]
    every = [Asked(output, default) for output in OUTPUTS]
    return InferRequest(
        _name(tensor).upper(), elements, outputs or every, bool(outputs), _plain(parameters), id_
    )


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters without what is in lists and objects, which none of ours is."""
    return {
        name: None if isinstance(value, list | dict) else value
        for name, value in parameters.items()
    }


def _asked(output: object, binary: bool) -> Asked:
    described = _object(output, "an output")
    name = _name(described)
    if name.upper() not in OUTPUTS:
        raise _bad(f"no output is named {quoted(name)}; there are {', '.join(OUTPUTS)}")
    parameters = _object(described.get("parameters") or {}, "an output's parameters")
    for unserved in ("classification", "shared_memory_region"):
        if parameters.get(unserved):
            raise _bad(f"output {quoted(name)}: {unserved} is not served here")
    return Asked(name, flag(parameters, "binary_data", binary))


def _elements(tensor: Mapping[str, Any], tensors: memoryview, most: int) -> list[bytes]:
    name, count = quoted(_name(tensor)), _count(tensor, most)
    parameters = _object(tensor.get("parameters") or {}, "an input's parameters")
    size = parameters.get("binary_data_size")
    if size is None:
        if len(tensors):
            raise _bad(f"{len(tensors)} bytes follow the JSON, and no input has binary_data_size")
        elements = _json_elements(tensor, parameters)
        if len(elements) != count:
            raise _bad(f"input {name} has {len(elements)} elements; its shape says {count}")
        return elements
    if "data" in tensor:
        raise _bad(f"input {name} has both data and binary_data_size")
    if type(size) is not int or size != len(tensors):
        raise _bad(f"input {name}: binary_data_size must be {len(tensors)}, the bytes that follow")
    return split_elements(tensors, count)


def _count(tensor: Mapping[str, Any], most: int) -> int:
    """Return how many elements an input says it has, of shape [n] or [n, 1]."""
    name, shape = quoted(_name(tensor)), tensor.get("shape")
    if tensor.get("datatype") != "BYTES":
        raise _bad(f"input {name} must have datatype BYTES")
    if not isinstance(shape, list) or [type(one) for one in shape] not in ([int], [int, int]):
        raise _bad(f"input {name} must have shape [n] or [n, 1]")
    count: int = shape[0]
    if shape[1:] not in ([], [1]) or count < 1:
        raise _bad(f"input {name} must have shape [n] or [n, 1], with n at least 1")
    if count > most:
        raise PayloadTooLarge(
            f"input {name} has {count} elements; the limit is {most} (gateway.max_items)",
            code="too_many_items",
        )
    return count


def _json_elements(tensor: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[bytes]:
    name, data = quoted(_name(tensor)), tensor.get("data")
    if not isinstance(data, list):
        raise _bad(f"input {name} needs data, a list of strings, or binary_data_size")
    elements = []
    for index, text in enumerate(_flat(data)):
        if not isinstance(text, str):
            raise _bad(f"input {name}: element {index} must be a string")
        elements.append(_element(text, parameters.get("content_type") == "base64", index))
    return elements


def _element(text: str, is_base64: bool, index: int) -> bytes:
    try:
        if is_base64:
            return base64.b64decode(text, validate=True)
        # Bytes that were not UTF-8 became lone surrogates when the body was parsed.
        return text.encode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        form = "standard base64" if is_base64 else "text that UTF-8 can hold"
        raise _bad(f"element {index} must be {form}", index) from None


def _flat(data: Sequence[object]) -> Iterator[object]:
    """Yield the elements of a list that may be nested once, as [[a], [b]]."""
    for one in data:
        if isinstance(one, list):
            yield from one
        else:
            yield one


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _bad(f"{what} must be a JSON object")
    return value


def _name(tensor: Mapping[str, Any]) -> str:
    name = tensor.get("name")
    if not isinstance(name, str):
        raise _bad("a tensor needs a name, a string")
    return name


def _bad(message: str, index: int | None = None) -> BadRequest:
    return BadRequest(message, code="invalid_request", index=index)
