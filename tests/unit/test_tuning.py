"""How settings are chosen and kept: pure rules, a real report, real files."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embark.errors import BadRequest, ConfigurationError
from embark.inputs import Modality
from export.tuning.choosing import Round, choose, closest, medians, shortlist
from export.tuning.grid import candidates
from export.tuning.inputs import load_inputs, write_inputs
from export.tuning.objective import (
    PERCENTILES,
    Measurement,
    Objective,
    best,
    excess,
    parse_objective,
)
from export.tuning.perf_analyzer import locate, parse_report, prepare
from export.tuning.record import TUNING_FILE, Candidate, Tuning, read_tuning, write_tuning
from export.tuning.sweep import FINALISTS, loads, sweep

# What perf_analyzer 2.48 wrote for minilm.
REPORT = """\
Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,\
Server Compute Input,Server Compute Infer,Server Compute Output,Client Recv,\
p50 latency,p90 latency,p95 latency,p99 latency
4,66.9965,6,908,2460,44,54270,499,2,59195,102899,121527,159224
"""
POOL = [
    Candidate(front_instances=fronts, front_delay_us=0, encoder_instances=1, intra_op_threads=1)
    for fronts in range(1, 7)
]
BASELINE = POOL[0]
P99 = Objective(99, 50.0)

measurements = st.builds(
    lambda throughput, latency: (throughput, tuple(sorted(latency))),
    st.floats(1, 1000),
    st.lists(st.floats(1, 100), min_size=len(PERCENTILES), max_size=len(PERCENTILES)),
)


@st.composite
def tournaments(draw: st.DrawFn) -> dict[Candidate, list[Round]]:
    """Rounds of two to six candidates, equally many, at the same concurrencies."""
    rounds, concurrencies = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return {
        candidate: [
            [Measurement(number + 1, *draw(measurements)) for number in range(concurrencies)]
            for _ in range(rounds)
        ]
        for candidate in POOL[: draw(st.integers(2, 6))]
    }


def reached(measured: Round) -> float:
    point = best(measured, [P99])
    return 0.0 if point is None else point.throughput


@given(tournaments())
def test_the_choice_meets_the_objective_or_there_is_none(
    rounds: Mapping[Candidate, Sequence[Round]],
) -> None:
    choice = choose(rounds, BASELINE, [P99])
    meeting = [one for one in rounds if reached(medians(rounds[one])) > 0]
    if choice is None:
        assert meeting == []
        assert excess(closest(rounds, [P99]).measurement, [P99]) > 1
    else:
        assert choice.candidate in meeting
        assert excess(choice.measurement, [P99]) <= 1
        assert choice.measurement in medians(rounds[choice.candidate])


@given(tournaments())
def test_present_settings_give_way_only_to_one_ahead_in_every_round(
    rounds: Mapping[Candidate, Sequence[Round]],
) -> None:
    choice = choose(rounds, BASELINE, [P99])
    standing = reached(medians(rounds[BASELINE]))
    if standing == 0:
        return
    assert choice is not None
    ahead = [
        one
        for one in rounds
        if reached(medians(rounds[one])) > standing
        and all(
            reached(ours) > reached(theirs)
            for ours, theirs in zip(rounds[one], rounds[BASELINE], strict=True)
        )
    ]
    highest = max((reached(medians(rounds[one])) for one in ahead), default=standing)
    assert choice.candidate in (ahead or [BASELINE])
    assert choice.measurement.throughput == highest


def test_one_lucky_round_chooses_nothing() -> None:
    def at(throughput: float) -> Round:
        return [Measurement(1, throughput, (1.0, 1.0, 1.0, 1.0))]

    rounds = {BASELINE: [at(10), at(10), at(10)], POOL[1]: [at(99), at(11), at(9)]}
    choice = choose(rounds, BASELINE, [P99])
    assert choice is not None
    assert choice.candidate == BASELINE


def test_every_objective_must_hold() -> None:
    fast = Measurement(1, 100.0, (20.0, 30.0, 35.0, 40.0))
    slow = Measurement(2, 200.0, (20.0, 30.0, 35.0, 60.0))
    assert best([fast, slow], [P99]) == fast
    assert best([fast, slow], [Objective(50, 30.0)]) == slow
    assert best([fast, slow], [P99, Objective(50, 10.0)]) is None


@given(
    st.dictionaries(
        st.sampled_from(POOL), measurements.map(lambda one: [Measurement(1, *one)]), min_size=1
    ),
    st.integers(1, 6),
)
def test_the_shortlist_is_the_best_of_the_first_round(
    measured: Mapping[Candidate, Round], count: int
) -> None:
    chosen = shortlist(measured, [P99], count)
    assert len(chosen) == min(count, len(measured))
    left = [reached(measured[one]) for one in measured if one not in chosen]
    assert min(reached(measured[one]) for one in chosen) >= max(left, default=0)


def test_a_sweep_alternates_finalists_and_always_measures_the_baseline() -> None:
    seen = []

    def measure(candidate: Candidate) -> Round:
        seen.append(candidate)
        return [Measurement(1, float(candidate.front_instances), (1.0, 1.0, 1.0, 1.0))]

    found = sweep(measure, BASELINE, POOL, [P99], rounds=2)
    finalists = [BASELINE, POOL[5], POOL[4], POOL[3]]
    assert seen == [*POOL[1:], *finalists, *reversed(finalists)]
    assert len(seen) == loads(POOL[1:], rounds=2)
    assert found.choice is not None
    assert found.choice.candidate == POOL[5]


def test_few_candidates_are_finalists_at_once() -> None:
    def measure(candidate: Candidate) -> Round:
        return [Measurement(1, 1.0, (1.0, 1.0, 1.0, 1.0))]

    found = sweep(measure, BASELINE, POOL[1 : 1 + FINALISTS], [P99], rounds=1)
    assert not found.first
    assert set(found.rounds) == set(POOL[: 1 + FINALISTS])


@pytest.mark.parametrize("cores", [1, 2, 3, 4, 16, 64])
def test_candidates_fit_the_machine(cores: int) -> None:
    tried = candidates(cores)
    used = [one.encoder_instances * one.intra_op_threads for one in tried]
    assert max(used) <= cores
    assert any(one.encoder_instances == 1 and one.intra_op_threads == cores for one in tried)
    assert len(set(tried)) == len(tried) <= 32
    assert all(one.front_instances >= one.encoder_instances for one in tried)


@pytest.mark.parametrize(
    ("text", "limit_ms"), [("p99=50ms", 50.0), ("p99=0.2s", 200.0), ("p99=1500us", 1.5)]
)
def test_an_objective_is_read(text: str, limit_ms: float) -> None:
    found = parse_objective(text)
    assert found == Objective(99, found.limit_ms)
    assert found.limit_ms == pytest.approx(limit_ms)


@pytest.mark.parametrize("text", ["p99", "p99=50", "p98=50ms", "p99=0ms", "p99<50ms", "p99=-1ms"])
def test_what_is_no_objective_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="p99=50ms"):
        parse_objective(text)


def test_a_report_is_read() -> None:
    (row,) = parse_report(REPORT)
    assert row == Measurement(4, 66.9965, (59.195, 102.899, 121.527, 159.224))
    assert row.percentile_ms(95) == 121.527


@pytest.mark.parametrize("text", ["a,b\n1,2\n", REPORT.replace("66.9965", ""), REPORT[:-40]])
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a report"):
        parse_report(text)


TUNING = Tuning(
    candidate=BASELINE,
    objective="p99<=50ms",
    throughput=12.5,
    p99_ms=49.0,
    concurrency=2,
    baseline_throughput=None,
    cores=2,
    measured_at="2026-01-01T00:00:00+00:00",
)


def test_a_tuning_is_kept(tmp_path: Path) -> None:
    (tmp_path / "minilm").mkdir()
    assert read_tuning(tmp_path, "minilm") is None
    write_tuning(tmp_path, "minilm", TUNING)
    assert read_tuning(tmp_path, "minilm") == TUNING
    assert [path.name for path in (tmp_path / "minilm").iterdir()] == [TUNING_FILE]


@pytest.mark.parametrize(
    "damage", [lambda text: text[:-5], lambda text: text.replace('"cores": 2', '"cores": 0')]
)
def test_a_damaged_tuning_says_what_to_do(tmp_path: Path, damage: Callable[[str], str]) -> None:
    (tmp_path / "minilm").mkdir()
    write_tuning(tmp_path, "minilm", TUNING)
    path = tmp_path / "minilm" / TUNING_FILE
    path.write_text(damage(path.read_text()))
    with pytest.raises(ConfigurationError, match="run `embark tune minilm` again"):
        read_tuning(tmp_path, "minilm")


def test_inputs_are_sent_as_triton_lays_them_out(tmp_path: Path) -> None:
    (tmp_path / "texts").write_bytes("one\n\nzwei ü\n".encode())
    payloads = load_inputs("minilm", Modality.TEXT, tmp_path / "texts")
    assert payloads == [b"one", "zwei ü".encode()]
    write_inputs(tmp_path / "inputs.json", Modality.TEXT, payloads)
    steps = json.loads((tmp_path / "inputs.json").read_bytes())["data"]
    assert [step["TEXT"]["shape"] for step in steps] == [[1], [1]]
    assert base64.b64decode(steps[0]["TEXT"]["b64"]) == b"\x03\x00\x00\x00one"


def test_images_are_read_from_a_folder(tmp_path: Path) -> None:
    drawn = load_inputs("inception_v3", Modality.IMAGE, None)
    for number, image in enumerate(drawn[:2]):
        (tmp_path / f"{number}.png").write_bytes(image)
    assert load_inputs("inception_v3", Modality.IMAGE, tmp_path) == drawn[:2]


@pytest.mark.parametrize("modality", list(Modality))
def test_unusable_inputs_are_refused(tmp_path: Path, modality: Modality) -> None:
    with pytest.raises(BadRequest, match="m needs a f"):
        load_inputs("m", modality, tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank").write_text("\n\n")
    source = tmp_path / ("blank" if modality is Modality.TEXT else "empty")
    with pytest.raises(BadRequest, match="has no inputs"):
        load_inputs("m", modality, source)


def test_perf_analyzer_is_looked_for_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def program(folder: str) -> Path:
        path = tmp_path / folder / "perf_analyzer"
        path.parent.mkdir(parents=True)
        path.write_text("#!/bin/sh\nexit 3\n")
        path.chmod(0o755)
        return path

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(ConfigurationError, match=r"python -m export\.tuning\.fetch"):
        locate(None)
    fetched = program(".cache/perf_analyzer")
    assert locate(None) == fetched
    on_path = program("bin")
    assert locate(None) == on_path
    named = program("named")
    assert locate(named) == named
    with pytest.raises(ConfigurationError, match="is not a program"):
        locate(tmp_path / "missing")
    with pytest.raises(ConfigurationError, match="does not run"):
        prepare(named, tmp_path, tmp_path / "libraries")
