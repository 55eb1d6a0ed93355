"""training.finetuning.series: files that people have become series, cut by time; what cannot be used says why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from service.contract.types import Floats
from tests.training.finetuning.retail import shops, write_csv
from training.finetuning.series import (
    Collection,
    UnusableData,
    read_collection,
    split,
    usual_horizon,
    window_counts,
)


def collection(*series: Floats, season: int = 1) -> Collection:
    return Collection(
        [str(i) for i in range(len(series))], list(series), [season] * len(series), [season] * len(series), "", []
    )


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def days(count: int, first: int = 1) -> list[str]:
    return [str(np.datetime64("2024-01-01") + np.timedelta64(first + day, "D")) for day in range(count)]


def test_columns_are_found_as_forecast_finds_them(tmp_path: Path) -> None:
    read = read_collection(write_csv(tmp_path / "s.csv", shops(3, 200)), {})
    assert read.names == ["shop 0", "shop 1", "shop 2"]
    assert [len(values) for values in read.series] == [200] * 3
    assert read.season == 7
    assert usual_horizon(read) == 28


def test_a_folder_is_all_its_tables(tmp_path: Path) -> None:
    (tmp_path / "north").mkdir()
    write_csv(tmp_path / "a.csv", shops(1, 60))
    write_csv(tmp_path / "north" / "b.csv", shops(2, 60, seed=1))
    written(tmp_path / "notes.md", "no table")
    read = read_collection(tmp_path, {})
    assert len(read.series) == 3
    assert all("a" in name or "b" in name for name in read.names)


def test_parquet_is_read_by_its_content(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"ds": days(40), "y": [float(i % 7) for i in range(40)]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "sales.parquet")
    assert [len(values) for values in read_collection(tmp_path, {}).series] == [40]


def test_options_say_how_to_read(tmp_path: Path) -> None:
    rows = [f"{day};{i},5;{i + 100},5" for i, day in enumerate(days(30))]
    path = written(tmp_path / "s.csv", "\n".join(["tag;a;b", *rows]))
    read = read_collection(path, {"value": "b"})
    assert read.series[0][0] == 100.5


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ("day,sales\n" + "\n".join(f"{d},{i}" for i, d in enumerate(days(5))), "the longest series has 5"),
        ("day,sales\n" + "\n".join(f"{d},7" for d in days(50)), "constant"),
        ("day,sales\n" + "\n".join(f"{d},{'abc' if i == 30 else i}" for i, d in enumerate(days(50))), "'abc'"),
        ("day,sales\n" + "\n".join(f"{days(1)[0]},{i}" for i in range(50)), "once more"),
    ],
)
def test_what_cannot_be_used_says_why_in_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UnusableData, match=sentence) as caught:
        read_collection(written(tmp_path / "s.csv", text), {})
    assert "\n" not in str(caught.value)


def test_missing_files_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableData, match="does not exist"):
        read_collection(tmp_path / "nothing.csv", {})
    with pytest.raises(UnusableData, match="holds no table"):
        read_collection(tmp_path, {})


def test_a_file_without_times_works(tmp_path: Path) -> None:
    path = written(tmp_path / "s.csv", "\n".join(str(i % 12 + 0.1 * i) for i in range(100)))
    read = read_collection(path, {}, season_length=12)
    assert (len(read.series), read.season) == (1, 12)


def test_short_and_constant_series_are_left_out_with_a_note(tmp_path: Path) -> None:
    rows = [f"{d},long,{i % 7}" for i, d in enumerate(days(60))]
    rows += [f"{d},short,{i}" for i, d in enumerate(days(5))] + [f"{d},flat,3" for d in days(60)]
    read = read_collection(written(tmp_path / "s.csv", "\n".join(["date,shop,sales", *rows])), {})
    assert read.names == ["long"]
    assert any("short" in note for note in read.notes)
    assert any("flat" in note for note in read.notes)


def test_mixed_frequencies_are_trained_together_and_said(tmp_path: Path) -> None:
    write_csv(tmp_path / "daily.csv", shops(2, 200))
    months = [f"{2000 + i // 12}-{i % 12 + 1:02}-01,{10 + 8 * np.sin(i * np.pi / 6):.3f}" for i in range(120)]
    written(tmp_path / "monthly.csv", "\n".join(["month,sales", *months]))
    read = read_collection(tmp_path, {})
    assert set(read.seasons) == {7, 12}
    assert any("different frequencies" in note for note in read.notes)


def test_the_horizon_is_that_of_the_frequency_where_neighbours_are_near(tmp_path: Path) -> None:
    hours = [f"{np.datetime64('2024-01-01T00') + np.timedelta64(i, 'h')},{np.sin(i * np.pi / 12)}" for i in range(500)]
    read = read_collection(written(tmp_path / "s.csv", "\n".join(["time,load", *hours])), {})
    assert (read.season, usual_horizon(read)) == (24, 48)
    walk = np.random.default_rng(0).normal(size=300).cumsum()
    rows = [f"{day},{value}" for day, value in zip(days(300), walk, strict=True)]
    read = read_collection(written(tmp_path / "walk.csv", "\n".join(["day,price", *rows])), {})
    assert (read.season, usual_horizon(read)) == (1, 28), "no season, and four weeks all the same"


def test_a_text_among_tables_is_left_out_with_a_note(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", shops(1, 60))
    written(tmp_path / "notes.txt", "what these are\nand whose")
    read = read_collection(tmp_path, {})
    assert len(read.series) == 1
    assert any("notes.txt" in note and "left out" in note for note in read.notes)


def test_options_are_named_as_one_types_them(tmp_path: Path) -> None:
    with pytest.raises(UnusableData, match="--value names"):
        read_collection(written(tmp_path / "s.csv", "name,city\n" + "Ann,Rome\n" * 20), {})


def test_series_one_after_the_other_in_time_are_told_apart_by_their_id(tmp_path: Path) -> None:
    rows = [f"later,{day},{i % 7}" for i, day in enumerate(days(60, first=500))]
    rows += [f"earlier,{day},{i % 7}" for i, day in enumerate(days(60))]
    read = read_collection(written(tmp_path / "s.csv", "\n".join(["id,date,sales", *rows])), {})
    assert read.names == ["later", "earlier"]


def test_parts_follow_one_another_in_time() -> None:
    values = np.arange(600, dtype=np.float64)
    parts = split(collection(values, season=7), 28)
    [learnt] = parts.training.training_part()
    assert len(learnt) == 600 - 7 * 28
    ends = [len(learnt)]
    for part, count in ((parts.validation, 2), (parts.calibration, 2), (parts.test, 3)):
        windows = part.windows()
        assert len(windows) == count
        for window in windows:
            assert len(window.context) == ends[-1]
            assert window.future[0] == len(window.context)
            ends.append(len(window.context) + 28)
    assert ends[-1] == 600


def test_series_without_room_for_windows_are_learnt_from_alone() -> None:
    parts = split(collection(np.arange(300.0), np.arange(20.0)), 28)
    assert {index for index, _ in parts.test.items} == {0}
    assert [len(part) for part in parts.training.training_part()][1] == 20


def test_a_horizon_beyond_the_data_says_how_much_is_needed() -> None:
    with pytest.raises(UnusableData, match="one needs 187 or more"):
        split(collection(np.arange(100.0)), 28)


@pytest.mark.parametrize("length", [12, 20, 40, 100, 1000])
def test_the_usual_horizon_leaves_room(length: int) -> None:
    horizon = usual_horizon(collection(np.arange(float(length)), season=7))
    assert sum(window_counts(length, horizon)) >= 3
