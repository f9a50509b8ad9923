"""Which offset of a partition may be committed when its records are finished in any order."""

from __future__ import annotations

from collections import deque


class Offsets:
    """The unfinished offsets of one assigned partition. Not safe for threads: its owner locks.

    A committed offset says that everything before it is finished, so it is the first unfinished
    one, or the one after the last that was read.
    """

    def __init__(self) -> None:
        self._read: deque[int] = deque()
        self._finished: set[int] = set()
        self._next: int | None = None
        self._committed: int | None = None

    def read(self, offset: int) -> None:
        """Note a record that was read; offsets grow."""
        self._read.append(offset)
        self._next = offset + 1

    def finish(self, offset: int) -> None:
        """Note that a record which was read is finished."""
        self._finished.add(offset)
        while self._read and self._read[0] in self._finished:
            self._finished.remove(self._read.popleft())

    @property
    def unfinished(self) -> int:
        """How many records were read and not finished."""
        return len(self._read) - len(self._finished)

    def to_commit(self) -> int | None:
        """Return the offset to commit now, None if that is known already or nothing was read."""
        offset = self._read[0] if self._read else self._next
        return None if offset == self._committed else offset

    def committed(self, offset: int) -> None:
        """Note that an offset was committed."""
        self._committed = offset
