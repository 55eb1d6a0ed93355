"""What the digit benchmark stands on: honest figures, rows that survive a file, pictures that hold their digit."""

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
from benchmarks.digits import cnn, figures, hands, measure, measures, report, rows, scenes
from benchmarks.digits.elsewhere import Prepared, prepared
from benchmarks.digits.readers import Planes, microseconds
from benchmarks.digits.rows import Row, Rows
from service.contract.types import Floats
from training.data import drawn_digits as glyphs
from training.data.mnist import Digits, Mnist


def trace(*digits: list[tuple[int, float]]) -> Floats:
    """Probabilities after every row of each digit: an answer and its score, the rest shared by the others."""
    found = np.zeros((len(digits), len(digits[0]), 10))
    for number, rows_ in enumerate(digits):
        for row, (label, score) in enumerate(rows_):
            found[number, row] = (1 - score) / 9
            found[number, row, label] = score
    return found


def test_stopping_counts_rows_and_judges_only_what_was_reached() -> None:
    answers = trace(
        [(1, 0.5), (1, 0.95), (2, 0.99)],  # stops after two rows, wrong
        [(3, 0.95), (3, 0.95), (3, 0.95)],  # stops at once, right
        [(4, 0.3), (4, 0.4), (4, 0.5)],  # never
        [(5, 0.2), (5, 0.3), (5, 0.96)],  # at the end, right
    )
    found = measures.stopping(answers, np.array([2, 3, 4, 5]), 0.9)
    assert found == pytest.approx({"rows": (2 + 1 + 3 + 3) / 4, "reached": 0.75, "accuracy": 2 / 3})
    assert measures.stopping(answers, np.array([2, 3, 4, 5]), 0.999)["accuracy"] == 0
    np.testing.assert_allclose(measures.by_row(answers, np.array([2, 3, 4, 5])), [0.75, 0.75, 1])


def test_reliability_groups_by_score() -> None:
    answers = trace([(0, 1.0)], [(0, 1.0)], [(0, 0.5)])[:, 0]
    assert measures.reliability(answers, np.array([0, 1, 0])) == [(0.5, 1.0, 1), (1.0, 0.5, 2)]
    assert measures.doubted(answers, 0.6) == pytest.approx(1 / 3)


class Counter:
    """A reader that answers how many columns of a digit have ink, after every row."""

    name = "counter@1"
    kilobytes = 3.0
    unlikely_below: float | None = 0.2

    def trace(self, digits: Planes) -> Floats:
        seen = np.maximum.accumulate(digits > 0.5, axis=1).sum(axis=2) % 10
        return np.eye(10)[seen] * 0.5 + 0.05

    def call(self, digits: Planes) -> Callable[[], object]:
        return lambda: self.trace(digits)


def some_digits(count: int) -> Digits:
    return Digits(*glyphs.digit_images(count, 3))


def measured() -> Rows:
    reader, digits = Counter(), some_digits(20)
    found = Rows()
    found += measure.of_mnist(reader, digits, "validation")
    found += measure.of_damage(reader, digits, "validation", {"none": lambda images: images, "blank": np.zeros_like})
    found += measure.of_time(reader, digits, 0.01)
    pictures = {"pen/screen": prepared(hands.drawings(4, "pen", 0), "pen", "screen", 4)}
    found += measure.of_pictures(reader, pictures)
    found += measure.of_no_digits(reader, {"scribbles": Prepared([np.zeros((28, 28), np.float32)], [-1], refused=3)})
    return found


def test_every_figure_has_its_row() -> None:
    found = measured()
    assert [row.case for row in found.section("rows")] == [str(number) for number in range(1, 29)]
    plain, blank = found.value("counter@1", "damage", "none"), found.value("counter@1", "damage", "blank")
    assert plain == found.value("counter@1", "rows", "28")
    assert blank == pytest.approx(0.1)  # no column has ink: answered 0
    assert found.value("counter@1", "doubt", "digits") == 0
    # 0.55 is no doubt, and three of four were refused
    assert found.value("counter@1", "doubt", "scribbles") == found.value("counter@1", "unlikely", "scribbles") == 0.75
    assert found.readers() == ["counter@1"]


def test_a_refused_picture_is_a_wrong_answer() -> None:
    found = list(measure.of_pictures(Counter(), {"pen/screen": Prepared(refused=3)}))
    assert [(row.value, row.count) for row in found] == [(0.0, 3)]


def test_rows_survive_their_file(tmp_path: Path) -> None:
    found = Rows(
        [Row("digits@2", "damage", "rotated, much", 0.9875, 5000, "test", cores=2), Row("cnn", "size", "KiB", 4)]
    )
    table.write(tmp_path / "digits.csv", Row, found, digits=6)
    assert rows.read(tmp_path / "digits.csv") == found
    assert rows.weighted(found) == pytest.approx(0.9875)


def test_tables_and_plots_of_whatever_was_measured(tmp_path: Path) -> None:
    found = measured()
    whole = [
        Row("cnn", row.section, row.case, 0.5, row.count) for row in found if row.case in ("28", "none", "pen/screen")
    ]
    found += [*whole, Row("preparation", "time", "PNG", 1500.0, 1)]
    report.write(found, tmp_path / "digits.md", "digits.png")
    text = (tmp_path / "digits.md").read_text()
    assert "| cnn | – | – | – | – | – | – | 50.00 |" in text
    assert "| **mean** |" in text
    assert "PNG 1.5 ms" in text
    assert "Measured by themselves" not in text
    alone = [replace(row, command="anew --times") if row.section == "time" else row for row in found]
    report.write(Rows(alone), tmp_path / "digits.md", "digits.png")
    assert "`anew --times`" in (tmp_path / "digits.md").read_text()
    figures.draw(found, tmp_path / "digits.png")
    with Image.open(tmp_path / "digits.png") as image:
        assert image.size[0] > 1000


def test_the_sheet_holds_what_was_read_wrong(tmp_path: Path) -> None:
    digits = some_digits(5)
    answers = np.eye(10)[(digits.labels + np.array([0, 0, 1, 0, 1])) % 10]
    assert figures.sheet(digits, answers, tmp_path / "build" / "errors.png") == 2
    assert figures.sheet(digits, np.eye(10)[digits.labels], tmp_path / "none.png") == 0


@pytest.mark.parametrize("tool", ["mouse", "pen", "marker"])
def test_hands_draw_all_digits_and_no_two_alike(tool: str) -> None:
    found = hands.drawings(20, tool, 0)
    assert [one.label for one in found] == [*range(10)] * 2
    for one in found:
        assert one.ink.dtype == np.float32
        assert 0.02 < one.ink.mean() < 0.8
        assert one.ink[:, 0].any()
        assert one.ink[-1].any()
    assert any(one.ink.shape != other.ink.shape for one, other in zip(found[:10], found[10:], strict=True))
    assert all((a.ink == b.ink).all() for a, b in zip(found, hands.drawings(20, tool, 0), strict=True))


def test_a_curve_goes_through_its_points() -> None:
    points = np.array([(0.0, 0.0), (1.0, 0.5), (0.5, 1.0)])
    line = hands.curve(points, steps=4)
    np.testing.assert_allclose(line[::4], points)


@pytest.mark.parametrize("name", scenes.SCENES)
def test_a_scene_is_a_picture_of_its_digit(name: str) -> None:
    drawings = hands.drawings(3, "marker", 5)
    one = scenes.SCENES[name](drawings[2].ink, np.random.default_rng(1))
    assert one == scenes.SCENES[name](drawings[2].ink, np.random.default_rng(1))
    assert Image.open(BytesIO(one)).size >= (10, 10)
    found = prepared(drawings, "marker", name, 3)
    assert (found.count, found.refused) == (3, 0)
    for rows_, label in zip(found.rows, found.labels, strict=True):
        assert rows_.shape == (28, 28)
        # The same shape as the digit drawn by itself: nothing of the scene is left.
        alone = prepared([drawings[label]], "marker", "screen", 1).rows[0]
        assert np.corrcoef(rows_.ravel(), alone.ravel())[0, 1] > 0.7


def test_fonts_have_ten_digits() -> None:
    found = list(hands.typeset(Path(mpl.get_data_path()) / "fonts" / "ttf" / "cmr10.ttf"))
    assert [one.label for one in found] == [*range(10)]


def test_the_peer_is_the_network_of_the_example() -> None:
    torch.manual_seed(0)
    network = cnn.Cnn()
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_199_882  # as published
    images = torch.rand(3, 28, 28)
    network.eval()
    with torch.no_grad():
        torch.testing.assert_close(network(images).exp().sum(dim=1), torch.ones(3))


def test_the_peer_learns(capsys: pytest.CaptureFixture[str]) -> None:
    digits = some_digits(80)
    network = cnn.train(Mnist(digits, digits, digits), epochs=3)
    assert cnn.accuracy(network, digits) > 0.5
    assert "validation_accuracy" in capsys.readouterr().out


def test_a_time_is_that_of_one_digit() -> None:
    calls = []
    assert microseconds(lambda: calls.append(sum(range(20_000))), 10, 0.02) > 0
    assert len(calls) >= 2
