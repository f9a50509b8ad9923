"""What `embark fit` foretells, against a platform that is sent the same requests."""

from __future__ import annotations

import csv
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from embark.client import Client
from embark.fit import Columns, Encoders, Trace, read_log, replay
from embark.fit.trace import Seconds
from tests.support.stack import wait_for_hits

pytestmark = pytest.mark.stack

MODEL = "minilm"
SECONDS, PER_SECOND = 12, 60
# So long that at first new texts come faster than two cores embed them: a queue to foretell.
PADDING = "a walk through the old town and along the river to the sea " * 4
# A shared machine's throughput varies within the run; the prediction takes its mean for constant.
OFF_BY = 2.0


@dataclass(frozen=True)
class Sent:
    """Requests as they went: when each was sent, for which text, and whether it was a hit."""

    at: list[float]
    text: list[str]
    hit: list[bool]


def zipf_texts(count: int) -> list[str]:
    """Texts of a catalogue that grows all the time: its newest third is not there at first."""
    rng = np.random.default_rng(11)
    weights = np.cumsum(rng.permutation(np.arange(1, 601)) ** -0.9)
    there = np.linspace(400, 600, count).astype(int)
    drawn = np.searchsorted(weights, rng.random(count) * weights[there - 1], side="right")
    return [f"offer {number} of the log: {PADDING}" for number in drawn]


def send(client: Client, texts: list[str]) -> Sent:
    """Send the texts one by one at their pace; what is late is sent at once, and noted so."""
    sent = Sent([], [], [])
    start = time.time()
    for number, text in enumerate(texts):
        time.sleep(max(0.0, start + number / PER_SECOND - time.time()))
        sent.at.append(time.time())
        sent.text.append(text)
        sent.hit.append(client.lookup([text], MODEL).items[0].status == "hit")
    return sent


def as_log(sent: Sent, path: Path) -> Trace:
    """Write the log that a user would have, and read it."""
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = zip(map(repr, sent.at), sent.text, strict=True)
        csv.writer(file).writerows([("time", "input"), *lines])
    return read_log(path, Columns(), 60)[0]


def waits(client: Client, sent: Sent) -> tuple[Seconds, Seconds]:
    """When each text was first sent, and when its vector was written, by its record."""
    first: dict[str, float] = {}
    for moment, text in zip(sent.at, sent.text, strict=True):
        first.setdefault(text, moment)
    found = wait_for_hits(client, list(first), MODEL, 120)
    ages = np.array([item.age_ms for item in found.items], np.float64) / 1000
    return np.array(list(first.values())), time.time() - ages


def throughput(asked: Seconds, ready: Seconds) -> float:
    """Texts a second of the time in which any text was waited for."""
    busy, until = 0.0, 0.0
    for begin, end in sorted(zip(asked.tolist(), ready.tolist(), strict=True)):
        busy += max(0.0, end - max(begin, until))
        until = max(until, end)
    return len(asked) / busy


@pytest.mark.parametrize("stack", ["embedded"], indirect=True)
def test_a_replay_foretells_the_hits_of_the_platform(client: Client, tmp_path: Path) -> None:
    sent = send(client, zipf_texts(SECONDS * PER_SECOND))
    asked, ready = waits(client, sent)
    measured = throughput(asked, ready)
    trace = as_log(sent, tmp_path / "log.csv")
    slow, fast = (replay(trace, Encoders(measured * by)) for by in (1 / OFF_BY, OFF_BY))

    first_times = [sent.text.index(text) for text in set(sent.text)]
    assert not any(sent.hit[number] for number in first_times)
    assert slow.seen.distinct == len(first_times)
    hits = sent.hit.count(True)
    slow_hits, fast_hits = (len(trace) - int(one.bins.oov.sum()) for one in (slow, fast))
    assert slow_hits <= hits <= fast_hits, measured
    waited = float(np.median(ready - asked))
    slow_wait, fast_wait = (float(np.median(one.ready - one.asked)) for one in (slow, fast))
    assert fast_wait <= waited <= slow_wait, measured
