"""A full disk under the embedded archive and queue: refused, not lost, and over when there is room.

The disk is a file system of a few megabytes in memory, in a mount namespace of the test's own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

ON_A_SMALL_DISK = 'mount -t tmpfs -o size=8m tmpfs "$1" && exec "$2" -c "$3" "$1"'

PROGRAM = """
import json, sys, time
from pathlib import Path
import numpy as np
from embark.errors import ArchiveUnavailable, QueueUnavailable
from embark.inputs import text_input
from embark.keys import Key, digest
from embark.queue.base import Lane, Request
from tests.support.gateway import service, vector_of
from tests.support.models import DIMENSION, GENERATION

disk = Path(sys.argv[1])
ballasts = [disk / "first", disk / "second"]
for ballast in ballasts:
    ballast.write_bytes(b"x" * (2 << 20))

def key(text):
    return Key("words", GENERATION, digest(text_input(text)))

def fill(write, errors):
    count = 0
    while True:
        try:
            write(count)
        except errors as error:
            return count, error.message
        count += 1

with service(disk) as here:
    def record(number):
        names = [f"{number} {one}" for one in range(50)]
        here.archive.put_many(here.models["words"], {
            key(name).digest: bytes(3000) for name in names})
    def request(number):
        item = text_input(f"{number} " + "y" * 50_000)
        here.queue.put([Request(key(item.payload.decode()), item, Lane.BULK)])
    here.put_vector(key("kept"), vector_of(key("kept"), DIMENSION))
    archived, archive_says = fill(record, ArchiveUnavailable)
    ballasts[0].unlink()
    queued, queue_says = fill(request, QueueUnavailable)
    answers = here.lookup([{"model": "words", "text": text} for text in ("kept", "z" * 60_000)])
    prefetch = here.http.post("/v1/prefetch", json={
        "model": "words", "items": ["w" * 60_000]}).status_code
    ballasts[1].unlink()
    here.put_vector(key("later"), vector_of(key("later"), DIMENSION))
    ends = time.monotonic() + 10
    again = []
    # A queue that has just failed is not waited for: the second lookup can tell.
    while (not again or not again[1]["queued"]) and time.monotonic() < ends:
        again = here.lookup([{"model": "words", "text": text} for text in ("later", "new")])
        time.sleep(0.05)
    depth = here.queue.status()[Lane.BULK].depth
print(json.dumps({
    "archived": archived, "archive_says": archive_says, "queued": queued, "queue_says": queue_says,
    "full": [[one["status"], one.get("queued")] for one in answers], "prefetch": prefetch,
    "depth": depth, "again": [[one["status"], one.get("queued")] for one in again]}))
"""


def test_a_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK]
    done = subprocess.run(
        [*command, "sh", str(disk), sys.executable, PROGRAM],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert seen["archived"] > 10
    assert seen["queued"] > 10
    assert seen["full"] == [["hit", None], ["oov", False]]
    assert seen["prefetch"] == 503
    assert seen["depth"] == seen["queued"]
    assert seen["again"] == [["hit", None], ["oov", True]]
