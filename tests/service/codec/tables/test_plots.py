from __future__ import annotations

import io
from html.parser import HTMLParser
from typing import Any

from PIL import Image

from service.codec.tables.codec import read_file
from service.codec.tables.plots import MAX_PICTURE_PLOTS, backtest_plots, forecast_plots, plot_page, plot_picture

TABLE = read_file(b"date,id,y\n2024-01-01,<b>,1\n2024-01-02,<b>,\n2024-01-03,<b>,3\n", "prediction_length=2")


def answer(**more: Any) -> list[dict[str, Any]]:
    quantiles = {"0.1": [1.0, 2.0], "0.5": [2.0, 3.0], "0.9": [4.0, 5.0]}
    return [{"item_id": "<b>", "mean": [2.0, 3.123456789], "quantiles": quantiles, **more}]


def test_a_page_is_one_file_that_asks_for_nothing() -> None:
    page = plot_page(forecast_plots(TABLE, answer()), "Forecast of a&b", ["a < b"])
    tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            assert tag not in {"script", "img", "link", "b"}
            assert not {"src", "href"} & {name for name, _ in attrs}

    Reader().feed(page)
    assert tags.count("svg") == tags.count("polygon") == 1
    assert "a&amp;b" in page
    assert "a &lt; b" in page
    assert "&lt;b&gt;: 2 at 2024-01-04, 3.123 at 2024-01-05" in page


def test_a_backtest_shows_what_came_and_what_was_forecast() -> None:
    window = {"index": 2, "median": [2.0], "lower": [1.0], "upper": [4.0]}
    scores = [{"item_id": "<b>", "forecasts": [window]}]
    (plot,) = backtest_plots(TABLE, scores)
    assert [shape.kind for shape in plot.shapes] == ["band", "past", "past", "ahead"]
    assert plot.times[-1] == "2024-01-03"
    assert backtest_plots(TABLE, [{"item_id": "<b>", "forecasts": []}]) == []
    assert "<pre>a table</pre>" in plot_page([plot], "Backtest", [], "a table")


def test_a_picture_shows_the_first_plots() -> None:
    plots = forecast_plots(TABLE, answer())
    one = Image.open(io.BytesIO(plot_picture(plots)))
    many = Image.open(io.BytesIO(plot_picture(plots * (MAX_PICTURE_PLOTS + 3))))
    assert one.format == "PNG"
    assert len(one.getcolors(1 << 20) or []) > 5
    assert many.height > MAX_PICTURE_PLOTS * one.height
