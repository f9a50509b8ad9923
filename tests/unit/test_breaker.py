from __future__ import annotations

from embark.breaker import Breaker


def test_it_opens_after_failures_in_a_row_and_closes_on_success() -> None:
    told: list[bool] = []
    breaker = Breaker(3, told.append)
    for _ in range(2):
        breaker.failed()
    breaker.succeeded()
    for _ in range(2):
        breaker.failed()
    assert (breaker.is_open, told) == (False, [])
    breaker.failed()
    breaker.failed()
    assert (breaker.is_open, told) == (True, [True])
    breaker.succeeded()
    assert (breaker.is_open, told) == (False, [True, False])
    breaker.failed()
    assert not breaker.is_open
