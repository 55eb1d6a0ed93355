from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from service.codec.tables.codec import read_file
from service.codec.tables.report import plot_page, summary, text_table

TABLE = read_file(b"date,id,y\n2024-01-01,<b>,1\n2024-01-02,<b>,\n2024-01-03,<b>,3\n", "prediction_length=2")


def answer(**more: Any) -> list[dict[str, Any]]:
    quantiles = {"0.1": [1.0, 2.0], "0.5": [2.0, 3.0], "0.9": [4.0, 5.0]}
    return [{"item_id": "<b>", "mean": [2.0, 3.123456789], "quantiles": quantiles, **more}]


def test_a_table_for_the_terminal() -> None:
    lines = text_table(answer(timestamps=["2024-01-04", "2024-01-05"])).splitlines()
    assert lines[0].split() == ["item_id", "timestamp", "mean", "0.1", "0.5", "0.9"]
    assert lines[2].split() == ["<b>", "2024-01-05", "3.12346", "2", "3", "5"]
    assert "more rows" in text_table(answer() * 40).splitlines()[-1]


def test_what_was_understood() -> None:
    assert (
        summary(TABLE.reading, "a.csv") == "a.csv: long table; 3 rows; 1 series; id: id; time: date; value: y; step: D"
    )


def test_a_plot_is_one_file_that_asks_for_nothing() -> None:
    page = plot_page(TABLE, answer(), "Forecast of a&b")
    tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            assert tag not in {"script", "img", "link", "b"}
            assert not {"src", "href"} & {name for name, _ in attrs}

    Reader().feed(page)
    assert tags.count("svg") == tags.count("polygon") == 1
    assert "a&amp;b" in page
    assert "&lt;b&gt;: 2 at 2024-01-04, 3.123 at 2024-01-05" in page
