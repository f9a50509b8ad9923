"""What a subject of comparison is, and the way of those that speak HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.gateway.clients import Call
from benchmarks.gateway.place import Stopped
from benchmarks.gateway.programs.http_client import Connection
from benchmarks.gateway.workload import Batch
from embark.inputs import Modality


class Subject(Protocol):
    """Something that returns the vectors of a batch."""

    @property
    def name(self) -> str:
        """How it is called in tables."""
        ...

    @property
    def modalities(self) -> frozenset[Modality]:
        """What it embeds."""
        ...

    def call(self, batches: Sequence[Batch]) -> Call:
        """Return how it is asked for batches, one a request."""
        ...

    def check(self, batch: Batch) -> None:
        """Return if it answers a known batch with a vector for each input.

        Raises:
            Stopped: it does not.
        """
        ...


class HttpSubject:
    """A subject that takes a batch as one request of HTTP.

    Args:
        name: in tables.
        port: on loopback.
        modalities: what it embeds.
    """

    def __init__(
        self,
        name: str,
        port: int,
        modalities: frozenset[Modality] = frozenset((Modality.TEXT,)),
    ) -> None:
        self.name: Final = name
        self.port: Final = port
        self.modalities: Final = modalities

    def path(self, batch: Batch) -> str:
        """Return where a batch is sent."""
        raise NotImplementedError

    def body(self, batch: Batch) -> bytes:
        """Return what is sent."""
        raise NotImplementedError

    def headers(self) -> Mapping[str, str]:
        """Return what is sent with it."""
        return {"Content-Type": "application/json"}

    def vectors(self, answer: bytes, batch: Batch) -> int:
        """Return how many vectors an answer has."""
        raise NotImplementedError

    def request(self, batch: Batch) -> bytes:
        """Return a batch's whole request."""
        return post(self.path(batch), self.body(batch), self.headers())

    def call(self, batches: Sequence[Batch]) -> Call:
        """See `Subject.call`."""
        return http_call(self.port, [self.request(batch) for batch in batches])

    def ask(self, batch: Batch) -> bytes:
        """Ask once, and return the answer's body.

        Raises:
            Stopped: there is none, or it is an error.
        """
        try:
            connection = Connection("127.0.0.1", self.port)
            try:
                connection.send(self.request(batch))
                return bytes(connection.receive())
            finally:
                connection.close()
        except OSError as error:
            raise Stopped(f"it answers {len(batch.payloads)} inputs with {error}") from error

    def check(self, batch: Batch) -> None:
        """See `Subject.check`."""
        answer = self.ask(batch)
        try:
            found = self.vectors(answer, batch)
        except (KeyError, TypeError, ValueError) as error:
            raise Stopped(f"it answers {answer[:200]!r}: {error!r}") from error
        require(found, batch)


class OpenAiSubject(HttpSubject):
    """A subject that takes texts as one request of OpenAI's embeddings."""

    in_base64 = False

    def body(self, batch: Batch) -> bytes:
        texts = [payload.decode() for payload in batch.payloads]
        # LiteLLM's provider for Triton refuses to be told of an encoding.
        encoding = {"encoding_format": "base64"} if self.in_base64 else {}
        return json.dumps({"model": batch.model.name, "input": texts, **encoding}).encode()

    def vectors(self, answer: bytes, batch: Batch) -> int:
        return len(self.rows(answer))

    def rows(self, answer: bytes) -> npt.NDArray[np.float32]:
        """Return an answer's vectors, one a row."""
        found = [one["embedding"] for one in json.loads(answer)["data"]]
        if self.in_base64:
            return np.array([np.frombuffer(base64.b64decode(one), "<f4") for one in found])
        return np.array(found, np.float32)


def require(found: int, batch: Batch) -> None:
    """Return if a batch has all of its vectors.

    Raises:
        Stopped: it has not.
    """
    if found != len(batch.payloads):
        raise Stopped(f"it answers {len(batch.payloads)} inputs with {found} vectors")


def post(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return a POST request, head and body."""
    fields = {"Host": "127.0.0.1", **headers, "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def http_call(port: int, requests: Sequence[object], at_once: int = 1) -> Call:
    """Return how whole requests are sent over so many connections."""
    target = {"host": "127.0.0.1", "port": port, "at_once": at_once}
    return Call("http_client", target, requests)
