"""Neighbours through the whole platform, on both profiles: computed, written, found, named."""

from __future__ import annotations

import json
import subprocess
import sys

from embark.client import Client
from tests.support.stack import Stack, all_hits, computed, wait_until

NEAR = "a red leather jacket for women"
TEXTS = [
    NEAR,
    "red leather women's jacket",
    "a blue cotton shirt for men",
    "instructions for a vacuum cleaner",
    "the weather in the mountains tomorrow",
]


def test_an_item_just_embedded_is_found_by_the_text_it_is_like(
    stack: Stack, client: Client
) -> None:
    client.prefetch(TEXTS, "minilm")
    wait_until(lambda: all_hits(client, TEXTS), 60, "the texts are embedded")
    for exact in (False, True):
        asked = "women's jacket, leather, red"
        queries = [asked, "never seen before"]
        computed(client, queries, "minilm")
        found, missing = client.neighbours(
            queries, "minilm", k=2, exact=exact, on_miss="wait", wait_ms=20_000
        )
        assert found.status == missing.status == "hit"
        assert [near.text for near in found.neighbours] == [TEXTS[1], NEAR]
        assert 0.7 < found.neighbours[1].cosine <= found.neighbours[0].cosine < 1
    command = [
        sys.executable,
        "-m",
        "embark",
        "duplicates",
        NEAR,
        "--url",
        stack.url,
        "--model=minilm",
    ]
    shown = subprocess.run(
        [*command, "-k", "1", "--minimum", "0.5", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    near = json.loads(shown.stdout)["neighbours"]
    assert near[0]["text"] in (TEXTS[1], "women's jacket, leather, red")
