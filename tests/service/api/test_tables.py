"""`POST /forecast` with bodies and answers that are tables."""

from __future__ import annotations

import json

import httpx
import pytest

from service.codec.tables.codec import CSV, PARQUET
from tests.service.api.harness import BODY, Harness, problem

LONG = "id,date,y\na,2024-01-01,1\na,2024-01-02,2\nb,2024-01-02,5\nb,2024-01-03,6\n"


async def post(harness: Harness, content: str | bytes, query: str = "", **headers: str) -> httpx.Response:
    fields = {"Content-Type": CSV} | {name.replace("_", "-"): value for name, value in headers.items()}
    return await harness.client.post(f"/forecast{query}", content=content, headers=fields)


async def test_a_table_is_answered_with_a_table(harness: Harness) -> None:
    response = await post(harness, LONG, "?prediction_length=2&quantile_levels=0.1,0.9")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    lines = response.text.splitlines()
    assert lines[0] == "item_id,timestamp,mean,0.1,0.9"
    assert [line.split(",")[:3] for line in lines[1:]] == [
        ["a", "2024-01-03", "2.0"],
        ["a", "2024-01-04", "2.0"],
        ["b", "2024-01-04", "6.0"],
        ["b", "2024-01-05", "6.0"],
    ]
    reading = json.loads(response.headers["x-table-reading"])
    assert (reading["layout"], reading["id"], reading["freq"]) == ("long", ["id"], "D")
    assert response.headers["x-model-digest"].startswith("sha256:")


async def test_accept_chooses_json(harness: Harness) -> None:
    response = await post(harness, LONG, Accept="application/json, text/csv")
    document = response.json()
    assert [entry["item_id"] for entry in document["predictions"]] == ["a", "b"]
    assert document["predictions"][0]["timestamps"] == ["2024-01-03"]
    assert document["table"]["time"] == ["date"]


async def test_json_is_answered_with_a_table_where_that_is_accepted(harness: Harness) -> None:
    response = await harness.forecast(BODY, Accept="text/csv")
    assert response.text == "item_id,step,mean,0.1,0.5,0.9\r\n1,1,3.0,2.2,3.0,3.8\r\n"


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html, */*;q=0.1"])
async def test_json_stays_json(harness: Harness, accept: str) -> None:
    response = await harness.forecast(BODY, Accept=accept)
    assert response.headers["content-type"] == "application/json"
    assert "table" not in response.json()


async def test_more_series_than_a_request_may_have_are_computed_in_parts(harness: Harness) -> None:
    rows = "".join(f"s{series},2024-01-0{day},{series}\n" for series in range(150) for day in (1, 2))
    response = await post(harness, "id,date,y\n" + rows, Accept="application/json")
    predictions = response.json()["predictions"]
    assert [entry["mean"] for entry in predictions] == [[float(series)] for series in range(150)]


async def test_faults_are_problems_that_name_the_cell(harness: Harness) -> None:
    document = problem(await post(harness, LONG.replace("b,2024-01-03,6", "b,2024-01-02,6")), 422, "bad_table")
    assert document["errors"][0]["pointer"] == "#cell=5,2"
    assert "line 5, column 2 (date), '2024-01-02'" in document["detail"]


async def test_what_the_model_refuses_names_the_series(harness: Harness) -> None:
    document = problem(await post(harness, LONG, "?model=linear"), 422, "length_not_supported")
    assert document["detail"].startswith("series 'a': 2 values")
    problem(await post(harness, LONG, "?prediction_length=999"), 422, "out_of_range")
    problem(await post(harness, LONG, "?model=digits"), 404, "model_not_found")
    problem(await post(harness, LONG, "?model=none"), 404, "model_not_found")


async def test_options_are_checked(harness: Harness) -> None:
    document = problem(await post(harness, LONG, "?horizon=3"), 422, "unknown_field")
    assert document["errors"][0]["pointer"] == "#/horizon"
    problem(await post(harness, LONG, "?prediction_length=x"), 422, "wrong_type")
    problem(await post(harness, LONG, "?decimal=x"), 422, "out_of_range")
    problem(
        await post(harness, "v\n1\n", "?prediction_length=256&quantile_levels=0.1&timeout_ms=0"), 422, "out_of_range"
    )


async def test_answers_are_bounded() -> None:
    harness = Harness(max_answer_numbers=10)
    async with harness.app.router.lifespan_context(harness.app), harness.client:
        problem(await post(harness, LONG, "?prediction_length=2"), 413, "too_many_items")


async def test_parquet_there_and_back(harness: Harness) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    from io import BytesIO

    from pyarrow import parquet

    table = pyarrow.table({"id": ["a", "a"], "date": ["2024-01-01", "2024-01-02"], "y": [1.0, 2.0]})
    target = BytesIO()
    parquet.write_table(table, target)
    headers = {"Content-Type": PARQUET}
    response = await harness.client.post("/forecast", content=target.getvalue(), headers=headers)
    columns = parquet.read_table(BytesIO(response.content)).to_pydict()
    assert (columns["timestamp"], columns["mean"]) == (["2024-01-03"], [2.0])


async def test_parquet_that_is_none(harness: Harness) -> None:
    response = await harness.client.post("/forecast", content=b"no", headers={"Content-Type": PARQUET})
    assert response.json()["code"] in {"bad_table", "unsupported_media_type"}
