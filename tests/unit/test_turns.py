"""Turns at the interpreter: one thread at a time, in order, and none while it waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest

from gateway.turns import Turn, aside
from tests.support.stack import wait_until

LIMIT_SECONDS = 10.0


class Crew:
    """Threads that are all joined in the end."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def start(self, run: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.threads.append(thread)
        return thread

    def join(self) -> None:
        for thread in self.threads:
            thread.join(LIMIT_SECONDS)
            assert not thread.is_alive()


@pytest.fixture
def crew() -> Crew:
    return Crew()


def wait_for_waiting(turn: Turn, threads: int) -> None:
    wait_until(lambda: len(turn._waiting) == threads, LIMIT_SECONDS, f"{threads} threads wait")


def test_one_thread_at_a_time_has_the_turn(crew: Crew) -> None:
    turn, inside, most = Turn(), 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(200):
            turn.take()
            inside += 1
            most = max(most, inside)
            inside -= 1
            turn.give_back()

    for _ in range(8):
        crew.start(work)
    crew.join()
    assert (most, inside) == (1, 0)


def test_threads_have_it_in_the_order_in_which_they_asked(crew: Crew) -> None:
    turn, order = Turn(), list[int]()

    def work(number: int) -> None:
        turn.take()
        order.append(number)
        turn.give_back()

    turn.take()
    for number in range(5):
        crew.start(partial(work, number))
        wait_for_waiting(turn, number + 1)
    turn.give_back()
    crew.join()
    assert order == list(range(5))


def test_others_have_it_while_one_stands_aside(crew: Crew) -> None:
    turn, had, may_return = Turn(), threading.Event(), threading.Event()

    def waits_for_something() -> None:
        turn.take()
        with aside():
            assert had.wait(LIMIT_SECONDS)
            may_return.set()
        turn.give_back()

    def other() -> None:
        turn.take()
        had.set()
        assert may_return.wait(LIMIT_SECONDS)
        turn.give_back()

    crew.start(waits_for_something)
    crew.start(other)
    crew.join()
    assert had.is_set()
    turn.take()


def test_whatever_goes_wrong_meanwhile_it_comes_back(crew: Crew) -> None:
    turn = Turn()
    turn.take()
    with pytest.raises(ZeroDivisionError), aside():
        raise ZeroDivisionError
    crew.start(turn.take)
    wait_for_waiting(turn, 1)
    turn.give_back()
    crew.join()


def test_who_has_no_turn_stands_nowhere() -> None:
    with aside():
        pass
    turn = Turn()
    turn.take()
    turn.give_back()
    with aside():
        turn.take()
    turn.give_back()
