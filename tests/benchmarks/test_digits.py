"""The digit benchmark: figures from probabilities, rows through a file, pictures that contain their digit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import table
from benchmarks.digits import calibration, cnn, handwriting, measure, metrics, plots, report, rows, scenes
from benchmarks.digits.picture_sets import Prepared, prepared
from benchmarks.digits.readers import Planes, microseconds
from benchmarks.digits.rows import Row, Rows
from service.contract.types import Floats
from training.data import drawn_digits
from training.data.mnist import Digits, Mnist


def trace(*digits: list[tuple[int, float]]) -> Floats:
    """Probabilities after every row of each digit: a label and its score, the remainder on the other labels."""
    probabilities = np.zeros((len(digits), len(digits[0]), 10))
    for number, rows_ in enumerate(digits):
        for row, (label, score) in enumerate(rows_):
            probabilities[number, row] = (1 - score) / 9
            probabilities[number, row, label] = score
    return probabilities


def test_stopping_counts_rows_and_judges_only_what_was_reached() -> None:
    answers = trace(
        [(1, 0.5), (1, 0.95), (2, 0.99)],  # stops after two rows, wrong
        [(3, 0.95), (3, 0.95), (3, 0.95)],  # stops at once, right
        [(4, 0.3), (4, 0.4), (4, 0.5)],  # never
        [(5, 0.2), (5, 0.3), (5, 0.96)],  # at the end, right
    )
    figures = metrics.stopping(answers, np.array([2, 3, 4, 5]), 0.9)
    assert figures == pytest.approx({"rows": (2 + 1 + 3 + 3) / 4, "reached": 0.75, "accuracy": 2 / 3})
    assert metrics.stopping(answers, np.array([2, 3, 4, 5]), 0.999)["accuracy"] == 0
    np.testing.assert_allclose(metrics.by_row(answers, np.array([2, 3, 4, 5])), [0.75, 0.75, 1])


def test_reliability_groups_by_score() -> None:
    answers = trace([(0, 1.0)], [(0, 1.0)], [(0, 0.5)])[:, 0]
    assert metrics.reliability(answers, np.array([0, 1, 0])) == [(0.5, 1.0, 1), (1.0, 0.5, 2)]
    assert metrics.doubted(answers, 0.6) == pytest.approx(1 / 3)


class Counter:
    """A reader that answers how many columns of a digit have ink, after every row."""

    name = "counter@1"
    kilobytes = 3.0
    unlikely_below: float | None = 0.2

    def trace(self, digits: Planes) -> Floats:
        columns = np.maximum.accumulate(digits > 0.5, axis=1).sum(axis=2) % 10
        return np.eye(10)[columns] * 0.5 + 0.05

    def call(self, digits: Planes) -> Callable[[], object]:
        return lambda: self.trace(digits)


def some_digits(count: int) -> Digits:
    return Digits(*drawn_digits.digit_images(count, 3))


def measured() -> Rows:
    reader, digits = Counter(), some_digits(20)
    all_rows = Rows()
    all_rows += measure.of_mnist(reader, digits, "validation")
    all_rows += measure.of_damage(reader, digits, "validation", {"none": lambda images: images, "blank": np.zeros_like})
    all_rows += measure.of_time(reader, digits, 0.01)
    pictures = {"pen/screen": prepared(handwriting.drawings(4, "pen", 0), "pen", "screen", 4)}
    all_rows += measure.of_pictures(reader, pictures)
    all_rows += measure.of_no_digits(reader, {"scribbles": Prepared([np.zeros((28, 28), np.float32)], [-1], refused=3)})
    return all_rows


def test_every_figure_has_its_row() -> None:
    figures = measured()
    assert [row.case for row in figures.section("rows")] == [str(number) for number in range(1, 29)]
    plain, blank = figures.value("counter@1", "damage", "none"), figures.value("counter@1", "damage", "blank")
    assert plain == figures.value("counter@1", "rows", "28")
    assert blank == pytest.approx(0.1)  # no column has ink: answered 0
    assert figures.value("counter@1", "doubt", "digits") == 0
    # 0.55 is no doubt, and three of four were refused
    assert (
        figures.value("counter@1", "doubt", "scribbles") == figures.value("counter@1", "unlikely", "scribbles") == 0.75
    )
    assert figures.readers() == ["counter@1"]


def test_a_refused_picture_is_a_wrong_answer() -> None:
    refused = list(measure.of_pictures(Counter(), {"pen/screen": Prepared(refused=3)}))
    assert [(row.value, row.count) for row in refused] == [(0.0, 3)]


def test_rows_survive_their_file(tmp_path: Path) -> None:
    original = Rows(
        [Row("digits@2", "damage", "rotated, much", 0.9875, 5000, "test", cores=2), Row("cnn", "size", "KiB", 4)]
    )
    table.write(tmp_path / "digits.csv", Row, original, digits=6)
    assert rows.read(tmp_path / "digits.csv") == original
    assert rows.weighted(original) == pytest.approx(0.9875)


def test_tables_and_plots_of_an_incomplete_run(tmp_path: Path) -> None:
    run = measured()
    cnn_rows = [
        Row("cnn", row.section, row.case, 0.5, row.count) for row in run if row.case in ("28", "none", "pen/screen")
    ]
    run += [*cnn_rows, Row("preparation", "time", "PNG", 1500.0, 1)]
    report.write(run, tmp_path / "digits.md", "digits.png")
    text = (tmp_path / "digits.md").read_text()
    assert "| cnn | – | – | – | – | – | – | 50.00 |" in text
    assert "| **mean** |" in text
    assert "PNG 1.5 ms" in text
    assert "- cnn: validation digits 50.00 %; 1 kinds of damage: mean 50.0, worst 50.0 %; pictures: pen 50.0 %." in text
    assert "The times are of another run" not in text
    timed_later = [replace(row, command="anew --times") if row.section == "time" else row for row in run]
    report.write(Rows(timed_later), tmp_path / "digits.md", "digits.png")
    assert "`anew --times`" in (tmp_path / "digits.md").read_text()
    plots.draw(run, tmp_path / "digits.png")
    with Image.open(tmp_path / "digits.png") as image:
        assert image.size[0] > 1000


def test_the_sheet_holds_the_misread_digits(tmp_path: Path) -> None:
    digits = some_digits(5)
    answers = np.eye(10)[(digits.labels + np.array([0, 0, 1, 0, 1])) % 10]
    assert plots.sheet(digits, answers, tmp_path / "build" / "errors.png") == 2
    assert plots.sheet(digits, np.eye(10)[digits.labels], tmp_path / "none.png") == 0


@pytest.mark.parametrize("tool", ["mouse", "pen", "marker"])
def test_tools_draw_all_digits_and_no_two_alike(tool: str) -> None:
    drawings = handwriting.drawings(20, tool, 0)
    assert [drawing.label for drawing in drawings] == [*range(10)] * 2
    for drawing in drawings:
        assert drawing.ink.dtype == np.float32
        assert 0.02 < drawing.ink.mean() < 0.8
        assert drawing.ink[:, 0].any()
        assert drawing.ink[-1].any()
    assert any(a.ink.shape != b.ink.shape for a, b in zip(drawings[:10], drawings[10:], strict=True))
    assert all((a.ink == b.ink).all() for a, b in zip(drawings, handwriting.drawings(20, tool, 0), strict=True))


def test_a_curve_goes_through_its_points() -> None:
    points = np.array([(0.0, 0.0), (1.0, 0.5), (0.5, 1.0)])
    line = handwriting.curve(points, steps=4)
    np.testing.assert_allclose(line[::4], points)


@pytest.mark.parametrize("name", scenes.SCENES)
def test_a_scene_is_a_picture_of_its_digit(name: str) -> None:
    drawings = handwriting.drawings(3, "marker", 5)
    picture = scenes.SCENES[name](drawings[2].ink, np.random.default_rng(1))
    assert picture == scenes.SCENES[name](drawings[2].ink, np.random.default_rng(1))
    assert Image.open(BytesIO(picture)).size >= (10, 10)
    result = prepared(drawings, "marker", name, 3)
    assert (result.count, result.refused) == (3, 0)
    for rows_, label in zip(result.rows, result.labels, strict=True):
        assert rows_.shape == (28, 28)
        # The prepared digit has the shape of the same digit on a plain screen, without traces of the scene.
        plain = prepared([drawings[label]], "marker", "screen", 1).rows[0]
        assert np.corrcoef(rows_.ravel(), plain.ravel())[0, 1] > 0.7


def test_fonts_have_ten_digits() -> None:
    typeset = list(handwriting.typeset(Path(mpl.get_data_path()) / "fonts" / "ttf" / "cmr10.ttf"))
    assert [drawing.label for drawing in typeset] == [*range(10)]


@pytest.mark.slow
def test_the_peer_is_the_network_of_the_example() -> None:
    torch.manual_seed(0)
    network = cnn.Cnn()
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_199_882  # as published
    images = torch.rand(3, 28, 28)
    network.eval()
    with torch.no_grad():
        torch.testing.assert_close(network(images).exp().sum(dim=1), torch.ones(3))


@pytest.mark.slow
def test_the_peer_learns(capsys: pytest.CaptureFixture[str]) -> None:
    digits = some_digits(80)
    network = cnn.train(Mnist(digits, digits, digits), epochs=3)
    assert cnn.accuracy(network, digits) > 0.5
    assert "validation_accuracy" in capsys.readouterr().out


def test_a_time_is_that_of_one_digit() -> None:
    calls = []
    assert microseconds(lambda: calls.append(sum(range(20_000))), 10, 0.02) > 0
    assert len(calls) >= 2


def test_the_groups_of_the_calibration_are_pictures_and_their_figures_are_counted() -> None:
    for group in calibration.GROUPS:
        label, data = next(calibration.material(group, 1))
        assert Image.open(BytesIO(data)).width > 0
        assert (label == -1) is (group == calibration.NONE)
    reads = [
        calibration.Read(0.995, is_right=True),
        calibration.Read(0.999, is_right=False),
        calibration.Read(0.6, is_right=True),
        calibration.Read(0.0, is_right=False, is_blank=True),
    ]
    whole, *ranges = calibration.rows_of("drawn", reads, {"commit": "0123456", "command": "make", "date": "today"})
    assert (whole.count, whole.blank, whole.right, whole.sure, whole.sure_right) == (4, 1, 2, 2, 1)
    assert [(row.low, row.count, row.right) for row in ranges] == [(0.5, 1, 1), (0.99, 2, 1)]
    assert "| drawn | 4 | 1 | 66.7 % | 2 | 50.0 % | 50.0 % |" in calibration.page([whole, *ranges])
