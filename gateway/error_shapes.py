"""What an error's body looks like in each protocol; which protocol a path belongs to.

    ours     {"error": {"code", "message", "index"}}
    OpenAI   {"error": {"message", "type", "param", "code", "index"}}
    v2       {"error": "message"}, the message naming the item

Not for statuses and headers: `gateway.errors`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

_V2_PATH = "/v2"
_OPENAI_PATHS = ("/v1/embeddings", "/v1/models")

_OPENAI_CODES = {"unknown_model": "model_not_found"}
_OPENAI_FIELDS = {
    "unknown_model": "model",
    "empty_batch": "input",
    "too_many_items": "input",
    "token_ids": "input",
    "not_ready": "input",
}
_CHECKED_FIELDS = frozenset(
    ("input", "model", "encoding_format", "dimensions", "user", "modality", "on_miss", "wait_ms")
)


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as it is told.

    Attributes:
        status: HTTP status.
        code: machine-readable.
        message: for people.
        index: the item it is about, None for the request as a whole.
    """

    status: int
    code: str
    message: str
    index: int | None = None


class Protocol(enum.Enum):
    """Whose words a path is answered in."""

    OURS = "ours"
    OPENAI = "openai"
    INFERENCE = "inference"


def protocol_of(path: str) -> Protocol:
    """Return which protocol a path belongs to."""
    if _is_below(path, _V2_PATH):
        return Protocol.INFERENCE
    is_openai = any(_is_below(path, one) for one in _OPENAI_PATHS)
    return Protocol.OPENAI if is_openai else Protocol.OURS


def body_of(problem: Problem, path: str) -> dict[str, Any]:
    """Return the body that tells a problem to the client that asked for `path`."""
    protocol = protocol_of(path)
    if protocol is Protocol.INFERENCE:
        return {"error": _with_index(problem)}
    return {"error": _openai(problem) if protocol is Protocol.OPENAI else ours(problem)}


def ours(problem: Problem) -> dict[str, Any]:
    """Return a problem in the form of our own protocol."""
    told: dict[str, Any] = {"code": problem.code, "message": problem.message}
    if problem.index is not None:
        told["index"] = problem.index
    return told


def _openai(problem: Problem) -> dict[str, Any]:
    told: dict[str, Any] = {
        "message": _with_index(problem, "input"),
        "type": _openai_type(problem.status),
        "param": _openai_field(problem),
        "code": _OPENAI_CODES.get(problem.code, problem.code),
    }
    if problem.index is not None:
        told["index"] = problem.index
    return told


def _openai_field(problem: Problem) -> str | None:
    """Return the request's field that is to blame; a wrong `x` has the code `invalid_x`."""
    if problem.index is not None:
        return "input"
    blamed = problem.code.removeprefix("invalid_")
    return _OPENAI_FIELDS.get(problem.code, blamed if blamed in _CHECKED_FIELDS else None)


def _openai_type(status: int) -> str:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "server_error"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limit_error"
    return "invalid_request_error"


def _with_index(problem: Problem, what: str = "item") -> str:
    if problem.index is None:
        return problem.message
    return f"{what} {problem.index}: {problem.message}"


def _is_below(path: str, top: str) -> bool:
    return path == top or path.startswith(f"{top}/")
