"""Working ahead: order, exceptions, and the end of the threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embark.errors import BadRequest
from embark.torch.ahead import ahead
from tests.support.stack import wait_until


def threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("embark-ahead")]


@settings(deadline=None)
@given(st.lists(st.integers()), st.integers(1, 5))
def test_each_item_comes_with_its_own_in_order(items: list[int], depth: int) -> None:
    made = list(ahead(items, lambda item, stop: -item, depth))
    assert made == [(item, -item) for item in items]
    assert threads() == []


def test_only_so_many_are_taken_beforehand() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            taken.append(number)
            yield number

    iterator = ahead(items(), lambda item, stop: item, depth=3)
    assert taken == []
    assert next(iterator) == (0, 0)
    assert taken == [0, 1, 2, 3]
    assert next(iterator) == (1, 1)
    assert taken == [0, 1, 2, 3, 4]


def test_the_next_are_made_while_one_is_used() -> None:
    started = [threading.Event() for _ in range(3)]

    def make(item: int, stop: threading.Event) -> int:
        started[item].set()
        return item

    iterator = ahead(range(3), make, depth=2)
    next(iterator)
    assert all(event.wait(10) for event in started)


def test_an_error_is_raised_in_its_place() -> None:
    def make(item: int, stop: threading.Event) -> int:
        if item == 2:
            raise ValueError("of item 2")
        return item

    seen = []
    with pytest.raises(ValueError, match="of item 2"):
        for item, _ in ahead(range(9), make, depth=4):
            seen.append(item)
    assert seen == [0, 1]
    wait_until(lambda: not threads(), 60, "the threads end")


@pytest.mark.parametrize("how", ["closed", "dropped", "broken"])
def test_the_threads_end_with_the_iterator(how: str) -> None:
    def make(item: int, stop: threading.Event) -> bool:
        return item == 0 or stop.wait(60)

    iterator = ahead(range(9), make, depth=2)
    assert next(iterator) == (0, True)
    assert threads()
    if how == "closed":
        iterator.close()
    elif how == "dropped":
        del iterator
    else:
        with pytest.raises(KeyboardInterrupt):
            iterator.throw(KeyboardInterrupt())
    assert threads() == []


def test_depth_is_at_least_one() -> None:
    with pytest.raises(BadRequest, match="depth is 0"):
        ahead([1], lambda item, stop: item, depth=0)
