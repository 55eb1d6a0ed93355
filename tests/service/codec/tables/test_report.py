from __future__ import annotations

from typing import Any

from service.codec.tables.codec import read_file
from service.codec.tables.report import digit_table, summary, text_table

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


def test_what_was_read_in_pictures() -> None:
    digit = {"item_id": "a.png", "label": 7, "score": 0.99, "rows_used": 20, "preprocessing": {"inverted": True}}
    number: dict[str, Any] = {"item_id": None, "label": 1, "score": 0.5, "rows_used": 9, "preprocessing": None}
    number |= {"number": "12\n34", "number_score": 0.75, "warnings": ["dense"]}
    blank = {"item_id": "c.png", "label": None, "score": None, "rows_used": 0, "preprocessing": {"inverted": False}}
    lines = digit_table([digit | {"warnings": []}, number, blank | {"warnings": []}]).splitlines()
    assert [line.split() for line in lines] == [
        ["file", "reads", "score", "rows", "picture"],
        ["a.png", "7", "0.990", "20"],
        ["2", "12", "/", "34", "0.750", "9", "dense"],
        ["c.png", "-", "-", "0", "light", "on", "dark"],
    ]
