"""The parts of the load tests that need neither Locust nor a server."""

from __future__ import annotations

import io
import math
import socket
from collections import Counter
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from embark.errors import ConfigurationError
from embark.inputs import Modality, image_input
from embark.keys import digest, parse_key
from loadtests.arrivals import schedule
from loadtests.calls import Caller, Served, served_models
from loadtests.catalogue import Catalogue
from loadtests.contents import picture, text
from loadtests.control import Control
from loadtests.histogram import Histogram, needed
from loadtests.objectives import Objective, judge, late_generator, read_objectives
from loadtests.options import DEFAULT_OBJECTIVES
from loadtests.options import Test as Plan
from loadtests.page import page
from loadtests.records import OVERFLOW, Records
from loadtests.result import outcome, to_data
from loadtests.scenario import (
    SHIPPED,
    Arrivals,
    FlashEvent,
    Items,
    Scenario,
    Stage,
    parse_scenario,
    read_scenario,
)

_DURATIONS = st.lists(st.floats(0, 1e6), min_size=1, max_size=200)
_SMALL = """
name = "small"
[arrivals]
stages = [{ seconds = 10, rate = 5 }]
[[mix]]
kind = "lookup"
"""


@given(_DURATIONS, st.floats(1, 99.99))
def test_a_percentile_is_the_exact_one_or_at_most_half_a_percent_more(
    durations: list[float], percent: float
) -> None:
    histogram = Histogram()
    for duration in durations:
        histogram.add(duration)
    rank = max(1, math.ceil(len(durations) * percent / 100))
    exact = sorted(durations)[rank - 1]
    assert exact <= histogram.percentile(percent) <= exact * 1.005 + 0.001


@given(_DURATIONS, _DURATIONS)
def test_merged_histograms_are_as_if_one_had_counted_all(
    first: list[float], second: list[float]
) -> None:
    parts, whole = [Histogram(), Histogram()], Histogram()
    for part, durations in zip(parts, (first, second), strict=True):
        for duration in durations:
            part.add(duration)
            whole.add(duration)
    sent = orjson.loads(orjson.dumps(parts[1].to_data()))
    parts[0].merge(Histogram.from_data(sent))
    assert parts[0].to_data() == whole.to_data()


def test_a_percentile_needs_a_request_beyond_it() -> None:
    assert [needed(one) for one in (50, 95, 99, 99.9)] == [2, 20, 100, 1000]


def test_constant_arrivals_of_several_processes_interleave() -> None:
    arrivals = Arrivals(process="constant", stages=(Stage(seconds=10, rate=3),))
    times = np.sort(np.concatenate([schedule(arrivals, 1, index, 3) for index in range(3)]))
    assert len(times) == 30
    np.testing.assert_allclose(np.diff(times), 1 / 3)


def test_a_ramp_has_the_arrivals_of_its_area_where_it_is_steep() -> None:
    stages = (Stage(seconds=100, rate=0, to=100), Stage(seconds=50, rate=100))
    times = schedule(Arrivals(process="constant", stages=stages), 1, 0, 1)
    assert len(times) == 10_000
    assert abs(np.searchsorted(times, 50.0) - 1250) <= 1
    assert abs(np.searchsorted(times, 100.0) - 5000) <= 1


def test_poisson_arrivals_have_their_mean_and_variance() -> None:
    arrivals = Arrivals(stages=(Stage(seconds=2000, rate=20),))
    parts = [schedule(arrivals, 7, index, 2) for index in range(2)]
    assert not np.array_equal(parts[0][:10], parts[1][:10])
    counts = np.histogram(np.concatenate(parts), bins=2000, range=(0, 2000))[0]
    # Four standard errors of the mean, and of the variance of a Poisson distribution of 20.
    assert abs(counts.mean() - 20) < 4 * math.sqrt(20 / 2000)
    assert abs(counts.var() - 20) < 4 * math.sqrt((20 + 2 * 20**2) / 2000)


def test_popularity_follows_zipf_and_a_request_names_no_item_twice() -> None:
    catalogue = Catalogue(Items(size=200, zipf=1.0), 3, 100)
    rng = np.random.default_rng(0)
    counts: Counter[int] = Counter()
    for _ in range(20_000):
        counts.update(catalogue.pick(0, 1, rng))
    ranked = [count for _, count in counts.most_common()]
    harmonic = sum(1 / rank for rank in range(1, 201))
    assert abs(ranked[0] / 20_000 - 1 / harmonic) < 4 * math.sqrt(0.17 * 0.83 / 20_000)
    assert abs(ranked[0] / ranked[9] - 10) < 3
    picked = catalogue.pick(0, 200, rng)
    assert sorted(picked) == list(range(200))


def test_new_items_take_the_ranks_of_old_ones_at_their_time() -> None:
    catalogue = Catalogue(Items(size=10, zipf=0, new_per_second=1), 3, 5)
    rng = np.random.default_rng(0)
    assert set(catalogue.pick(0.9, 10, rng)) == set(range(10))
    assert 10 in catalogue.pick(1.0, 10, rng)
    later = set(catalogue.pick(5, 10, rng))
    assert 14 in later and max(later) == 14 and len(later) == 10


def test_a_crowd_wants_one_new_item_and_only_while_it_lasts() -> None:
    crowd = FlashEvent(kind="flash", name="crowd", at=10, seconds=5, share=0.8)
    catalogue = Catalogue(Items(size=50), 3, 60, [crowd])
    rng = np.random.default_rng(0)

    def share(at_s: float) -> float:
        return sum(50 in catalogue.pick(at_s, 5, rng) for _ in range(500)) / 500

    assert share(9.9) == 0
    assert abs(share(12) - 0.8) < 0.08
    assert share(15) == 0


def test_items_nobody_asks_are_other_ones_in_each_process_and_call() -> None:
    catalogues = [Catalogue(Items(size=10), 3, 60) for _ in range(2)]
    drawn = [
        item
        for process, catalogue in enumerate(catalogues)
        for _ in range(3)
        for item in catalogue.unseen(100, process)
    ]
    assert len(set(drawn)) == 600


def test_contents_are_distinct_repeatable_and_real() -> None:
    assert len({text(1, item) for item in range(500)}) == 500
    assert text(1, 7) == text(1, 7) != text(2, 7)
    assert picture(1, 7) == picture(1, 7) != picture(1, 8)
    with Image.open(io.BytesIO(picture(1, 7))) as image:
        image.load()
        assert image.size == (300, 300) and image.mode == "RGB"
        colours = image.getcolors(300 * 300)
        assert colours is not None and len(colours) > 1000


def _scenario(more: str = "") -> Scenario:
    return parse_scenario(_SMALL + more, "small")


def _caller(scenario: Scenario, *, images: bool = False) -> Caller:
    modality = Modality.IMAGE if images else Modality.TEXT
    return Caller(scenario, {"minilm": Served("0" * 16, modality)}, 0)


def test_a_picture_is_sent_by_key_while_it_is_known_and_whole_when_it_is_not() -> None:
    scenario = _scenario("items = 3\n[catalogue]\nsize = 3\nwarm = false\n")
    caller, call = _caller(scenario, images=True), scenario.mix[0]

    def ask(*statuses: str) -> list[dict[str, str]]:
        wire = caller.request(call, 0)
        answer = orjson.dumps({"items": [{"status": one} for one in statuses]})
        assert caller.statuses(wire, answer) == {"minilm": Counter(statuses)}
        sent = orjson.loads(wire.body)["items"]
        return [sent[wire.asked.index((item, "minilm"))] for item in range(3)]

    assert all("image" in item for item in ask("oov", "oov", "oov"))
    assert all("image" in item for item in ask("hit", "hit", "hit"))
    keys = ask("oov", "oov", "oov")
    for item, sent in enumerate(keys):
        assert parse_key(sent["key"]).digest == digest(image_input(picture(1, item)))
    assert all("image" in item for item in ask("hit", "hit", "hit"))


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b"{}", b'{"items": []}', b'{"items": [{}]}', b'{"items": null}']
)
def test_an_answer_to_something_else_is_an_error(answer: bytes) -> None:
    scenario = _scenario("items = 1\n")
    caller = _caller(scenario)
    wire = caller.request(scenario.mix[0], 0)
    with pytest.raises(ValueError):
        caller.statuses(wire, answer)


def test_a_model_that_is_not_served_is_named() -> None:
    with pytest.raises(ConfigurationError, match="asks model 'minilm'; served are: other"):
        served_models([{"name": "other", "generation": "", "modality": "text"}], ["minilm"])


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.toml")), ids=lambda file: file.stem)
def test_shipped_scenarios_are_valid_and_named_as_their_files(file: Path) -> None:
    scenario = parse_scenario(read_scenario(file.stem), file.name)
    assert scenario.name == file.stem
    assert read_objectives(DEFAULT_OBJECTIVES).of(scenario.name)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("rate = 1", "not valid TOML"),
        ("speed = 3\n", "mix.0.lookup.speed = 3: Extra inputs are not permitted"),
        ("weight = 0\n", "mix.0.lookup.weight = 0: Input should be greater than 0"),
        ("items = 2000\n[catalogue]\nsize = 9\n", "2000"),
        ("items = 10\n[catalogue]\nsize = 9\n", "asks 10 distinct items of a catalogue of 9"),
        ('[[mix]]\nkind = "lookup"\n', "two calls of the mix are named 'lookup'"),
        ('[[mix]]\nkind = "guess"\n', "mix.1"),
        ('[[event]]\nkind = "command"\nname = "x"\nat = 10\n', "after the end, 10 s"),
        ('[[event]]\nkind = "command"\nname = "x"\nat = 9\n', "give --on-event x='COMMAND'"),
    ],
)
def test_a_wrong_scenario_says_what_is_wrong(wrong: str, said: str) -> None:
    content = _SMALL + wrong if wrong != "rate = 1" else _SMALL + "[[mix"
    with pytest.raises(ConfigurationError) as raised:
        parse_scenario(content, "small.toml")
    assert said in raised.value.message and "small.toml" in raised.value.message


def test_a_command_without_its_event_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no command event 'lost'"):
        parse_scenario(_SMALL, "small", {"lost": "true"})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "objective"),
        ("[[objective]]\n", "states no bound"),
        ("[[objective]]\npercentile = 99\n", "go together"),
        ("[[objective]]\npercentile = 100\nlimit_ms = 5\n", "less than 100"),
        ('[[objective]]\nerror_budget = 0\nmodel = "m"\n', "minimum_hit_rate"),
    ],
)
def test_wrong_objectives_say_what_is_wrong(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "slo.toml"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=said):
        read_objectives(file)


def _records(
    latencies: list[float], *, lag_ms: float = 0.0, hits: int = 1, oov: int = 0
) -> Records:
    records = Records.over(10)
    for latency in latencies:
        for tally in records.at("lookup", 1.0):
            tally.due += 1
            tally.sent += 1
            tally.latency.add(latency)
            tally.lag.add(lag_ms)
            tally.items.setdefault("minilm", Counter()).update(hit=hits, oov=oov)
    return records


def _met(objective: Objective, records: Records, lost: str = "") -> list[bool]:
    return [row.met for row in judge([objective], records, ["lookup"], lost)]


def test_each_bound_is_judged_by_itself() -> None:
    records = _records([5.0] * 98 + [60.0] * 2, hits=9, oov=1)
    assert _met(Objective(percentile=95, limit_ms=10), records) == [True, True]
    assert _met(Objective(percentile=99, limit_ms=50), records) == [True, False]
    assert _met(Objective(minimum_hit_rate=0.9), records) == [True, True]
    assert _met(Objective(minimum_hit_rate=0.91), records) == [True, False]
    assert _met(Objective(minimum_hit_rate=0.5, model="other"), records) == [True, False]
    assert _met(Objective(minimum_requests=101), records) == [True, False]


def test_too_few_requests_for_a_percentile_are_a_breach() -> None:
    records = _records([1.0] * 999)
    assert _met(Objective(percentile=99.9, limit_ms=50), records) == [True, False]
    assert _met(Objective(percentile=99, limit_ms=50), records) == [True, True]


def test_what_was_not_sent_is_an_error_and_slow() -> None:
    records = _records([1.0] * 200)
    for tally in records.at("lookup", 1.0):
        for _ in range(10):
            tally.due += 1
            tally.errors[OVERFLOW] += 1
            tally.latency.add(2000.0)
    objective = Objective(error_budget=0.01, percentile=99, limit_ms=50)
    rows = judge([objective], records, ["lookup"])
    assert [row.met for row in rows] == [True, False, False]
    assert rows[0].measured == pytest.approx(200 / 210)
    assert "10 overflow" in rows[2].note


def test_a_test_that_lost_a_process_or_sent_nothing_is_not_met() -> None:
    objective = Objective(error_budget=0)
    assert _met(objective, _records([1.0] * 100), "1 of 2 processes") == [False, True]
    assert _met(objective, Records.over(10)) == [False, False]


def test_a_late_generator_is_named() -> None:
    objective = Objective(percentile=99, limit_ms=50)
    for lag_ms, said in ((2.0, False), (20.0, True)):
        records = _records([lag_ms + 1] * 100, lag_ms=lag_ms)
        warning = late_generator(records, judge([objective], records, ["lookup"]))
        assert ("load generator itself was late" in warning) == said


def test_the_outcome_adds_processes_up_and_its_page_is_escaped() -> None:
    scenario = parse_scenario(_SMALL.replace("small", "<small>"), "small")
    plan = Plan(_SMALL, {}, scenario, [Objective(percentile=50, limit_ms=5, error_budget=0)])
    parts = [_records([1.0] * 10), _records([9.0] * 30)]
    result = outcome(plan, parts, "")
    data = orjson.loads(orjson.dumps(to_data(result)))
    assert data["workers"] == 2
    assert data["calls"]["lookup"]["due"] == 40 == data["timeline"][0]["due"]
    assert data["calls"]["lookup"]["items"] == {"minilm": {"hit": 40, "oov": 0}}
    assert data["calls"]["lookup"]["latency_ms"]["p50"] == pytest.approx(9.0, rel=0.005)
    assert data["calls"]["lookup"]["latency_ms"]["p99"] is None
    assert data["met"] is False
    assert "<small>" not in page(result) and "&lt;small&gt;" in page(result)


def test_records_travel_whole() -> None:
    records = _records([1.0, 2.0], oov=3)
    records.done = True
    records.calls["lookup"].errors["timeout"] += 1
    sent = Records.from_data(orjson.loads(orjson.dumps(records.to_data())))
    assert sent.to_data() == records.to_data()


def test_a_test_whose_service_is_not_there_does_not_begin() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        gone = f"http://127.0.0.1:{server.getsockname()[1]}"
    plan = Plan(_SMALL, {}, _scenario(), [Objective(error_budget=0)])
    control = Control(plan, gone, gone)
    assert control.begin(["only"]) is None
    assert control.is_over(["only"])
    assert control.conclude("", "") == 2
    assert "no answer from" in control.failed
