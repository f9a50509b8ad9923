"""The CTR example's data: what is generated, gathered, split, measured and read; without torch."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import log_loss, roc_auc_score

from embark.errors import BadRequest, ConfigurationError
from examples.ctr import catalogue as catalogues
from examples.ctr import cells, impressions, metrics, texts, tokens
from examples.ctr.catalogue import DAY_S
from examples.ctr.public import load_mind

ITEMS, COUNT, DAYS = 300, 60_000, 6.0


@pytest.fixture(scope="module")
def catalogue() -> catalogues.Catalogue:
    return catalogues.generate(ITEMS, DAYS, seed=3)


@pytest.fixture(scope="module")
def shown(catalogue: catalogues.Catalogue) -> impressions.Impressions:
    return impressions.generate(catalogue, COUNT, DAYS, seed=3)


def test_the_same_seed_gives_the_same_data_and_another_seed_others(
    catalogue: catalogues.Catalogue, shown: impressions.Impressions
) -> None:
    again = catalogues.generate(ITEMS, DAYS, seed=3)
    assert again.text(7) == catalogue.text(7)
    assert again.picture(7) == catalogue.picture(7)
    assert np.array_equal(impressions.generate(again, COUNT, DAYS, seed=3).click, shown.click)
    other = catalogues.generate(ITEMS, DAYS, seed=4)
    assert other.picture(7) != catalogue.picture(7)
    assert not np.array_equal(other.appeal, catalogue.appeal)


def test_no_two_items_have_the_same_text(catalogue: catalogues.Catalogue) -> None:
    assert len({catalogue.text(item) for item in range(ITEMS)}) == ITEMS


def test_pictures_are_jpeg_files_that_show_what_was_drawn(
    catalogue: catalogues.Catalogue,
) -> None:
    # Away from the middle, the background's lightness; what stands there hides it.
    means = []
    for item in range(40):
        with Image.open(io.BytesIO(catalogue.picture(item))) as picture:
            assert (picture.format, picture.size) == ("JPEG", (299, 299))
            means.append(np.asarray(picture.convert("L"))[-30:, -60:].mean())
    assert np.corrcoef(means, catalogue.look.lightness[:40])[0, 1] > 0.8


def test_a_promise_differs_from_its_opposite_in_the_order_of_its_words_alone() -> None:
    both = []
    for sign in (1, -1):
        wording = texts.Wording(
            topic=np.zeros(20, np.int32),
            urgent=np.zeros(20, np.bool_),
            promise=np.full(20, sign, np.int32),
            variant=np.arange(20, dtype=np.int32) * 37,
        )
        both.append([texts.compose(wording, item) for item in range(20)])
        assert np.allclose(wording.appeal(), wording.appeal()[0])
    for good, bad in zip(*both, strict=True):
        assert good != bad
        assert sorted(good.split()) == sorted(bad.split()) or sorted(
            good.replace(",", "").replace(".", "").split()
        ) == sorted(bad.replace(",", "").replace(".", "").split())


def test_items_are_shown_after_their_arrival_only(
    catalogue: catalogues.Catalogue, shown: impressions.Impressions
) -> None:
    assert (catalogue.arrival_s[shown.item] <= shown.time_s).all()
    assert (np.diff(shown.time_s) >= 0).all()
    assert (np.diff(catalogue.arrival_s) >= 0).all()
    assert catalogue.arrival_s[0] <= 0 < catalogue.arrival_s[-1]


def test_popularity_is_of_zipf(
    catalogue: catalogues.Catalogue, shown: impressions.Impressions
) -> None:
    weight = impressions.popularity(catalogue)
    there = shown.time_s > catalogue.arrival_s[-1]
    counts = np.bincount(shown.item[there], minlength=ITEMS)
    expected = weight / weight.sum() * there.sum()
    # Poisson's spread: of 300 counts, hardly one is five deviations away.
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected) + 5).all()


def test_clicks_come_as_often_as_the_truth_says(shown: impressions.Impressions) -> None:
    order = np.argsort(shown.truth)
    for part in np.array_split(order, 10):
        expected = shown.truth[part].sum()
        assert abs(shown.click[part].sum() - expected) < 4.5 * np.sqrt(expected)


def test_content_is_a_real_part_of_the_truth(
    catalogue: catalogues.Catalogue, shown: impressions.Impressions
) -> None:
    appeal = catalogue.appeal[shown.item]
    assert roc_auc_score(shown.click, shown.truth) > roc_auc_score(shown.click, appeal) > 0.65
    assert catalogue.look.appeal().std() > 0.4
    assert catalogue.wording.appeal().std() > 0.4


@pytest.mark.parametrize(("items", "days"), [(0, 1.0), (5, 0.0)])
def test_an_empty_catalogue_is_refused(items: int, days: float) -> None:
    with pytest.raises(BadRequest, match="items and days"):
        catalogues.generate(items, days, seed=0)


def test_cells_have_every_impression_once_and_one_truth(
    shown: impressions.Impressions,
) -> None:
    gathered = cells.gather(shown, np.ones(len(shown), np.bool_))
    assert gathered.impressions.sum() == COUNT
    assert gathered.clicks.sum() == shown.click.sum()
    assert (gathered.clicks <= gathered.impressions).all()
    assert (np.diff(gathered.item) >= 0).all()
    place = {
        key: number
        for number, key in enumerate(
            zip(gathered.item.tolist(), gathered.user.tolist(), gathered.band.tolist(), strict=True)
        )
    }
    bands = impressions.band_of(shown.time_s)
    for one in range(0, COUNT, 997):
        number = place[int(shown.item[one]), int(shown.user[one]), int(bands[one])]
        assert gathered.truth[number] == shown.truth[one]


def test_the_split_is_by_time_and_new_items_are_new(
    catalogue: catalogues.Catalogue, shown: impressions.Impressions
) -> None:
    split = cells.split(shown, 0.5)
    moment = 0.5 * shown.time_s[-1]
    assert split.training.impressions.sum() == (shown.time_s < moment).sum()
    assert split.heldout.impressions.sum() == (shown.time_s >= moment).sum()
    new = np.unique(split.heldout.item[~split.known])
    assert len(new) > 10
    assert not np.isin(new, shown.item[shown.time_s < moment]).any()
    assert (catalogue.arrival_s[split.training.item] < moment).all()


def test_a_split_of_some_items_has_only_those(shown: impressions.Impressions) -> None:
    some = np.array([1, 5, 200], np.int64)
    split = cells.split(shown, 0.5, some)
    assert set(np.unique(np.concatenate([split.training.item, split.heldout.item]))) <= {1, 5, 200}


def test_bands_are_quarters_of_a_day() -> None:
    hours = np.array([0.0, 5.9, 6.1, 12.5, 23.9, 24.1]) * 3600
    assert impressions.band_of(hours).tolist() == [0, 0, 1, 2, 3, 0]


@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.integers(0, 6), st.sampled_from([0.1, 0.2, 0.5, 0.9])),
        min_size=2,
        max_size=30,
    )
)
def test_figures_are_those_of_the_single_impressions(
    drawn: list[tuple[int, int, float]],
) -> None:
    total = np.array([one[0] for one in drawn], np.int64)
    clicks = np.minimum(np.array([one[1] for one in drawn], np.int64), total)
    ctr = np.array([one[2] for one in drawn])
    empty = np.zeros(len(drawn), np.int64)
    made = cells.Cells(empty, empty, empty, total, clicks, ctr.astype(np.float32))
    found = metrics.figures(made, ctr)
    outcomes = np.concatenate(
        [[1] * c + [0] * (n - c) for n, c in zip(total.tolist(), clicks.tolist(), strict=True)]
    )
    spread = np.repeat(ctr, total)
    assert found.log_loss == pytest.approx(log_loss(outcomes, spread, labels=[0, 1]))
    if 0 < outcomes.sum() < len(outcomes):
        assert found.auc == pytest.approx(roc_auc_score(outcomes, spread))
        assert found.calibration == pytest.approx(spread.sum() / outcomes.sum())
    else:
        assert np.isnan(found.auc)


def test_calibration_error_sees_what_the_ratio_hides() -> None:
    empty = np.zeros(2, np.int64)
    total, clicks = np.array([1000, 1000]), np.array([300, 100])
    made = cells.Cells(empty, empty, empty, total, clicks, np.zeros(2, np.float32))
    swapped = metrics.figures(made, np.array([0.1, 0.3]))
    assert swapped.calibration == pytest.approx(1.0)
    assert swapped.calibration_error == pytest.approx(1.0)
    assert metrics.figures(made, np.array([0.3, 0.1])).calibration_error == pytest.approx(0.0)


def test_coverage_is_the_share_of_central_ranks() -> None:
    empty = np.zeros(4, np.int64)
    total = np.array([1, 1, 1, 7])
    made = cells.Cells(empty, empty, empty, total, empty, np.zeros(4, np.float32))
    covered = metrics.coverage(made, np.array([0.5, 0.3, 0.12, 0.01]))
    assert covered == {"50%": 0.2, "80%": 0.3, "95%": 0.3}


def test_tokens_are_the_words_without_the_number() -> None:
    one, other = (tokens.prepare(f"Meet a Pan, 50 left. Offer {n}".encode()) for n in (1, 29))
    assert one["IDS"].tolist() == other["IDS"].tolist()
    assert one["MASK"].sum() == 9
    assert (one["IDS"][:9] > 0).all()
    assert (one["IDS"][9:] == 0).all()
    assert one["IDS"][0] == tokens.prepare(b"MEET")["IDS"][0]
    assert one["IDS"].shape == one["MASK"].shape == (tokens.LENGTH,)


@given(st.text(max_size=300))
def test_any_text_has_tokens(text: str) -> None:
    prepared = tokens.prepare(text.encode("utf-8", "ignore"))
    assert prepared["MASK"].sum() >= 1
    assert prepared["IDS"].max() < tokens.VOCABULARY


MIND_NEWS = (
    "N1\tsports\tgolf\tA putt in the rain\tAbout it\thttps://x\t[]\t[]\n"
    'N2\tnews\tlocal\tThe "old" bridge\t\thttps://x\t[]\t[]\n'
)
MIND_BEHAVIOURS = (
    "2\tU9\t11/13/2019 8:36:57 PM\tN1 N2\tN2-1 N1-0\n1\tU8\t11/13/2019 8:36:57 AM\t\tN1-0\n"
)


def write_mind(folder: Path, news: str = MIND_NEWS, behaviours: str = MIND_BEHAVIOURS) -> Path:
    (folder / "news.tsv").write_text(news, "utf-8")
    (folder / "behaviors.tsv").write_text(behaviours, "utf-8")
    return folder


def test_mind_is_read_as_documented(tmp_path: Path) -> None:
    news, shown = load_mind(write_mind(tmp_path))
    assert (len(news), news.text(1)) == (2, 'The "old" bridge')
    assert news.category.tolist() == [1, 0]
    assert shown.item.tolist() == [0, 1, 0]
    assert shown.click.tolist() == [False, True, False]
    assert shown.time_s.tolist() == [
        8 * 3600 + 36 * 60 + 57,
        *[20 * 3600 + 36 * 60 + 57] * 2,
    ]
    assert shown.user[1] == shown.user[2]
    assert np.isnan(shown.truth).all()
    assert shown.time_s[-1] < DAY_S


@pytest.mark.parametrize(
    ("news", "behaviours", "said"),
    [
        ("N1\tsports\tgolf\n", MIND_BEHAVIOURS, "line 1 has 3 columns"),
        (MIND_NEWS + MIND_NEWS, MIND_BEHAVIOURS, "line 3: news 'N1' is there twice"),
        (MIND_NEWS, "1\tU8\tyesterday\t\tN1-0\n", "'yesterday' is no time"),
        (MIND_NEWS, "1\tU8\t11/13/2019 8:36:57 AM\t\tN7-0\n", "'N7-0' is no known news id"),
        (MIND_NEWS, "", "no impression"),
        ("", MIND_BEHAVIOURS, "has no news"),
    ],
)
def test_mind_of_another_form_is_refused(
    tmp_path: Path, news: str, behaviours: str, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_mind(write_mind(tmp_path, news, behaviours))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"news\.tsv cannot be read"):
        load_mind(tmp_path)


def test_the_command_line_lists_its_commands_and_generates(tmp_path: Path) -> None:
    wrong = subprocess.run(
        [sys.executable, "-m", "examples.ctr"], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert "train" in wrong.stdout
    file = tmp_path / "impressions.npz"
    command = [sys.executable, "-m", "examples.ctr", "generate", "--preset", "tiny"]
    done = subprocess.run(
        [*command, "--output", str(file), "--sheet", str(tmp_path / "sheet.png")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "the truth's own AUC" in done.stdout
    with np.load(file) as written:
        assert len(written["click"]) == 20_000
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (4 * 299, 3 * 299)
