from __future__ import annotations

import threading

from consumers.fetch_pool import FetchPool
from embark.settings import FetchSettings


def test_a_slow_host_takes_its_share_only() -> None:
    pool = FetchPool(FetchSettings(threads=4, per_host=2))
    release, running, done = threading.Event(), threading.Semaphore(0), threading.Event()

    def slow() -> None:
        running.release()
        release.wait(10)

    accepted = [pool.submit("slow", slow) for _ in range(30)]
    assert accepted.count(True) == 2 + 2 * 4
    assert accepted == sorted(accepted, reverse=True)
    for _ in range(2):
        assert running.acquire(timeout=5)
    assert not running.acquire(blocking=False)
    assert pool.submit("quick", done.set)
    assert done.wait(5)
    release.set()
    for _ in range(8):
        assert running.acquire(timeout=5)
    pool.close()


def test_what_waits_in_all_is_bounded() -> None:
    pool = FetchPool(FetchSettings(threads=2, per_host=1))
    release = threading.Event()

    def task() -> None:
        release.wait(10)

    accepted = sum(pool.submit(f"host {number % 50}", task) for number in range(200))
    assert accepted <= 2 * 4 * 2
    release.set()
    pool.close()
