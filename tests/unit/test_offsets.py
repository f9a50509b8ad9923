from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from embark.queue.kafka.offsets import Offsets


def test_what_is_committed_is_what_comes_after_all_that_is_finished() -> None:
    offsets = Offsets()
    assert offsets.to_commit() is None
    for offset in (5, 6, 9):
        offsets.read(offset)
    assert offsets.to_commit() == 5
    offsets.finish(6)
    assert offsets.to_commit() == 5
    offsets.finish(5)
    assert offsets.to_commit() == 9
    offsets.committed(9)
    assert offsets.to_commit() is None
    offsets.finish(9)
    assert offsets.to_commit() == 10


@given(st.sets(st.integers(0, 200), min_size=1).flatmap(
    lambda read: st.tuples(st.just(sorted(read)), st.permutations(sorted(read)), st.integers(0))
))  # fmt: skip
def test_no_unfinished_offset_is_ever_committed(case: tuple[list[int], list[int], int]) -> None:
    read, order, cut = case
    offsets = Offsets()
    for offset in read:
        offsets.read(offset)
    finished = order[: cut % (len(order) + 1)]
    for offset in finished:
        offsets.finish(offset)
    unfinished = sorted(set(read) - set(finished))
    assert offsets.unfinished == len(unfinished)
    assert offsets.to_commit() == (unfinished[0] if unfinished else read[-1] + 1)
