"""The generator of `benchmarks.shedding`: what it counts; a closed connection is no end."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.shedding import _Connections, _sustained, row_of

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def ask(*answers: bytes) -> tuple[list[int], int]:
    """The statuses of requests to a server that answers each so; and how often it was opened."""
    rest, opened = list(answers), 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        while rest and await reader.readuntil(b"\r\n\r\n"):
            answer = rest.pop(0)
            writer.write(answer)
            if not answer or b"close" in answer:
                break
        writer.close()

    async def client() -> list[int]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        connections = _Connections(server.sockets[0].getsockname()[1], REQUEST)
        statuses = [await connections.ask() for _ in answers]
        connections.close()
        server.close()
        return statuses

    return asyncio.run(client()), opened


def test_a_connection_that_is_kept_is_used_again() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    assert ask(answer, answer, answer) == ([200, 200, 200], 1)


def test_one_that_is_closed_is_not_and_one_that_breaks_is_a_failure() -> None:
    kept = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    closed = b"HTTP/1.1 503 X\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno"
    assert ask(kept, closed, kept, b"", kept) == ([200, 503, 200, 0, 200], 3)


def test_what_is_sustained_counts_the_answers_of_all_clients() -> None:
    answered = 0
    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        serving.append(asyncio.current_task())
        while await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.01)  # so that others ask meanwhile
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            answered += 1
        writer.close()
        await writer.wait_closed()

    async def measure() -> float:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        rate = await _sustained(server.sockets[0].getsockname()[1], REQUEST, 0.5)
        server.close()
        await asyncio.gather(*(task for task in serving if task is not None))
        return rate

    assert asyncio.run(measure()) * 0.5 == answered > 0


def test_refused_and_failed_are_counted_apart() -> None:
    row = row_of(3.0, [(200, 0.1), (200, 0.3), (503, 0.01), (0, 9.0)], 2.0, 0.5)
    assert (row.accepted, row.refused, row.failed) == (0.5, 0.25, 0.25)
    assert (row.offered, row.refused_p50_ms) == (2.0, 10.0)
    assert row.p99_ms == pytest.approx(300)
    with pytest.raises(ValueError, match="500"):
        row_of(1.0, [(500, 0.1)], 1.0, 0.5)
