from __future__ import annotations

from msgspec.structs import replace

from service.codec.forecast_types import Context, SeriesPrediction
from service.codec.tables.writer import columns_of, write_csv


def prediction(item_id: str | None, timestamps: list[str] | None = None) -> SeriesPrediction:
    plain = SeriesPrediction(
        item_id, [1.0, 2.5], {"0.1": [0.5, 1.0], "0.9": [1.5, 4.0]}, Context(3, 0, 3, 1), None, None, []
    )
    if timestamps is None:
        return plain
    return replace(plain, timestamps=timestamps)


def test_one_row_for_each_step() -> None:
    text = write_csv([prediction('a "quoted", name', ["2024-01-01", "2024-01-02"])]).decode()
    assert text.splitlines() == [
        "item_id,timestamp,mean,0.1,0.9",
        '"a ""quoted"", name",2024-01-01,1.0,0.5,1.5',
        '"a ""quoted"", name",2024-01-02,2.5,1.0,4.0',
    ]


def test_steps_are_counted_where_there_are_no_times() -> None:
    columns = columns_of([prediction(None), prediction("b", ["2024", "2025"])])
    assert columns["item_id"] == ["1", "1", "b", "b"]
    assert columns["step"] == [1, 2, 1, 2]
