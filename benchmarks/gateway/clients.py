"""Client processes: started once, each told what to send and for how long.

Eight clients are eight processes. They load and make their requests before the time runs; see
`programs.timing` for what they do, `rounds` for what is made of it.
"""

from __future__ import annotations

import json
import os
import pickle
import select
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.gateway.rounds import Slice, slice_of

ROOT: Final = Path(__file__).parents[2]

_ANSWER_SECONDS = 300
_STOP_SECONDS = 10


class ClientFailed(Exception):
    """A client could not send, or got an answer that is not one; the message says which."""


@dataclass(frozen=True)
class Call:
    """How a subject is asked.

    Attributes:
        program: module of `programs` that sends.
        target: what that module takes.
        requests: in the form in which that module takes them.
        python: the interpreter it runs in.
        repeats: send them again and again; else each once, and the slice ends with the last.
        warm_up: requests sent before the time runs.
    """

    program: str
    target: dict[str, Any]
    requests: Sequence[Any]
    python: Path = field(default=Path(sys.executable))
    repeats: bool = True
    warm_up: int = 1


class Client:
    """One process that sends what a `program` can send."""

    def __init__(self, program: str, python: Path, folder: Path, number: int) -> None:
        self._name = f"{program} {number}"
        self._file: Final = folder / f"{program}-{number}.requests"
        self._loaded: Call | None = None
        self._log = (folder / f"{program}-{number}.log").open("ab")
        self._process = subprocess.Popen(
            [str(python), "-m", f"benchmarks.gateway.programs.{program}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
        )

    def prepare(self, call: Call) -> None:
        """Have it load what `call` sends; `answer` tells when it has."""
        if self._loaded is None or self._loaded.requests is not call.requests:
            self._file.write_bytes(pickle.dumps(call.requests))
        self._loaded = call
        self._tell(
            {
                "do": "prepare",
                "requests": str(self._file),
                "repeats": call.repeats,
                "warm_up": call.warm_up,
                **call.target,
            }
        )

    def run(self, seconds: float) -> None:
        """Have it send; `answer` tells how long each took."""
        self._tell({"do": "run", "seconds": seconds})

    def answer(self) -> dict[str, Any]:
        """Return what it says.

        Raises:
            ClientFailed: it failed, ended, or is silent.
        """
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], _ANSWER_SECONDS)
        line = self._process.stdout.readline() if readable else b""
        if not line:
            # Were it to answer later, that would be taken for the answer to another question.
            self._process.kill()
            self._process.wait()
            tail = Path(self._log.name).read_text("utf-8", errors="replace").strip()[-500:]
            raise ClientFailed(f"{self._name} does not answer: {tail}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ClientFailed(answer["error"])
        return answer

    @property
    def has_ended(self) -> bool:
        """Whether the process can be asked no more."""
        return self._process.poll() is not None

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()
        self._file.unlink(missing_ok=True)

    def _tell(self, command: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise ClientFailed(f"{self._name} has ended") from error


class Clients:
    """All client processes of a run, by program; started when first needed.

    Args:
        folder: for the requests that they load, and their logs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._clients: dict[tuple[str, Path], list[Client]] = {}

    def measure(self, calls: Sequence[Call], seconds: float) -> Slice:
        """Have as many clients as there are calls send at once, and return what they saw.

        Raises:
            ClientFailed: one of them failed.
        """
        clients = self.warm(calls)
        for client in clients:
            client.run(seconds)
        return slice_of([answer["took"] for answer in _answers(clients)])

    def warm(self, calls: Sequence[Call]) -> list[Client]:
        """Have clients prepare, warming up included, all at once.

        Raises:
            ClientFailed: one of them failed.
        """
        clients = self._some(calls[0].program, calls[0].python, len(calls))
        for client, call in zip(clients, calls, strict=True):
            client.prepare(call)
        _answers(clients)
        return clients

    def disconnect(self) -> None:
        """End them all, and their connections; they are started again when needed."""
        while self._clients:
            _, some = self._clients.popitem()
            for client in some:
                client.close()

    def _some(self, program: str, python: Path, count: int) -> list[Client]:
        some = self._clients.setdefault((program, python), [])
        for number, client in enumerate(some):
            if client.has_ended:
                client.close()
                some[number] = Client(program, python, self._folder, number)
        while len(some) < count:
            some.append(Client(program, python, self._folder, len(some)))
        return some[:count]


def _answers(clients: Sequence[Client]) -> list[dict[str, Any]]:
    """Return what all clients say; each is heard, whatever another says."""
    answers, errors = [], []
    for client in clients:
        try:
            answers.append(client.answer())
        except ClientFailed as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return answers
