"""`POST /forecast` with bodies and answers that are tables."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from service.codec.common import CSV, PARQUET, XLSX
from tests.service.api.harness import BODY, Harness, problem, receiver
from tests.workbooks import SALES, archive

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


async def test_columns_that_were_left_out_are_a_warning(harness: Harness) -> None:
    rows = "date,y,promo\n2024-01-01,1,0\n2024-01-02,2,1\n"
    [prediction] = (await post(harness, rows, Accept="application/json")).json()["predictions"]
    assert prediction["warnings"] == ["columns_ignored"]
    assert "'promo'" in prediction["warning_details"]["columns_ignored"]
    [plain] = (await post(harness, "date,y\n2024-01-01,1\n2024-01-02,2\n", Accept="application/json")).json()[
        "predictions"
    ]
    assert plain["warnings"] == []


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


async def served(content: str | bytes, query: str = "", media_type: str = CSV, **changes: Any) -> httpx.Response:
    """The answer of a service with other limits."""
    harness = Harness(**changes)
    async with harness.app.router.lifespan_context(harness.app), harness.client:
        return await post(harness, content, query, Content_Type=media_type)


def many(series: int) -> str:
    """A long table, series after series; each has its number as values."""
    rows = (f"s{number},2024-01-0{day},{number}\n" for number in range(series) for day in (1, 2))
    return "id,date,y\n" + "".join(rows)


async def test_a_large_answer_comes_in_parts() -> None:
    whole = await served(many(9), "?prediction_length=2")
    parts = await served(many(9), "?prediction_length=2", max_answer_numbers=20)
    assert parts.content == whole.content
    assert "content-length" not in parts.headers
    assert parts.headers["x-table-reading"] == whole.headers["x-table-reading"]
    response = await served(many(9), "?prediction_length=2&include=series", max_answer_numbers=20)
    problem(response, 413, "too_many_items")


async def test_a_table_beyond_the_limit_of_a_body_is_answered_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.codec.tables.parts.PART_BYTES", 500)
    whole = await served(many(200), "?prediction_length=2")
    parts = await served(many(200), "?prediction_length=2", max_body_bytes=1000)
    assert parts.content == whole.content
    document = json.loads((await as_json(many(200), max_body_bytes=1000)).content)
    assert [entry["item_id"] for entry in document["predictions"]] == [f"s{number}" for number in range(200)]
    assert (document["table"]["series"], document["table"]["rows"]) == (200, 400)


async def as_json(content: str, **changes: Any) -> httpx.Response:
    harness = Harness(**changes)
    async with harness.app.router.lifespan_context(harness.app), harness.client:
        return await post(harness, content, Accept="application/json")


async def test_what_is_wrong_with_the_first_part_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.codec.tables.parts.PART_BYTES", 500)
    limits: dict[str, Any] = {"max_body_bytes": 1000}
    wide = "date,a\n" + "".join(f"{month // 12 + 1990}-{month % 12 + 1:02}-01,1\n" for month in range(120))
    problem(await served(wide, max_table_bytes=1000, **limits), 413, "body_too_large")
    problem(await served(many(100), "?model=none", **limits), 404, "model_not_found")
    document = problem(
        await served(many(100).replace("s1,2024-01-02,1", "s1,2024-01-02,x"), **limits), 422, "bad_table"
    )
    assert "line 5, column 3 (y), 'x' is no number" in document["detail"]
    document = problem(await served(many(100).replace("s9,", "s1,"), **limits), 422, "bad_table")
    assert "once more" in document["detail"]
    problem(await served(many(100), max_table_bytes=0, **limits), 413, "body_too_large")
    document = problem(await served(many(100), "?include=series", **limits), 413, "too_many_items")
    assert f"at most {limits['max_body_bytes']} bytes" in document["detail"]


async def test_a_fault_in_a_later_part_ends_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.codec.tables.parts.PART_BYTES", 500)
    rows = many(100).replace("s90,2024-01-02,90", "s90,2024-01-02,x")
    messages = await sent(rows)
    assert messages[0]["status"] == 200
    assert b"# the answer ends here: line 183, column 3 (y), 'x' is no number" in messages[-1]["body"]
    assert messages[-1]["more_body"]  # so that the server closes the connection: the answer is not whole
    messages = await sent(many(100) + "s1,2024-01-03,1\n")
    assert b"series 's1' begins again: sort" in messages[-1]["body"]


async def test_a_caller_who_leaves_ends_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.codec.tables.parts.PART_BYTES", 500)
    monkeypatch.setattr("service.api.request.DISCONNECT_CHECK_SECONDS", 0.0)
    messages = await sent(many(5000), leaves=True)
    assert messages[-1]["more_body"]


async def sent(content: str, *, leaves: bool = False) -> list[Any]:
    """The messages of an answer in parts; with `leaves` the connection is lost after the second one."""
    harness = Harness(max_body_bytes=1000)
    messages: list[Any] = []
    left = asyncio.Event()

    async def send(message: Any) -> None:
        messages.append(message)
        if leaves and len(messages) == 2:
            left.set()
        await asyncio.sleep(0)

    headers = [(b"content-type", b"text/csv"), (b"host", b"test")]
    scope = {"type": "http", "method": "POST", "path": "/forecast", "query_string": b"", "headers": headers}
    async with harness.app.router.lifespan_context(harness.app):
        await harness.app(
            {**scope, "client": ("127.0.0.1", 1), "root_path": ""}, receiver(content.encode(), left), send
        )
    return messages


async def test_a_large_table_that_is_not_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.codec.tables.parts.PART_BYTES", 500)
    wide = "date,a\n" + "".join(f"{month // 12 + 1990}-{month % 12 + 1:02}-01,1\n" for month in range(120))
    document = problem(await served(wide, max_body_bytes=1000), 413, "body_too_large")
    assert "wide" in document["detail"]


async def test_large_parquet_is_answered_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    from io import BytesIO

    from pyarrow import parquet

    monkeypatch.setattr("service.codec.tables.parts.PART_ROWS", 64)
    names = [f"s{number}" for number in range(100) for _ in (1, 2)]
    table = pyarrow.table(
        {"id": names, "date": ["2024-01-01", "2024-01-02"] * 100, "y": [float(i) for i in range(200)]}
    )
    target = BytesIO()
    parquet.write_table(table, target)
    response = await served(target.getvalue(), media_type=PARQUET, max_body_bytes=100)
    columns = parquet.read_table(BytesIO(response.content)).to_pydict()
    assert columns["item_id"] == names[::2]
    assert columns["mean"] == [float(i) for i in range(1, 200, 2)]


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


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        (XLSX, archive([("Sheet1", SALES)])),
        ("text/csv", archive([("Sheet1", SALES)])),
        ("application/vnd.ms-excel", b"Date,Sales\n2024-01-01,1.5\n2024-01-03,3\n"),
        ("text/tab-separated-values", b"Date\tSales\n2024-01-01\t1.5\n2024-01-03\t3\n"),
        ("application/csv; charset=utf-16", "Date,Sales\n2024-01-01,1.5\n2024-01-03,3\n".encode("utf-16")),
    ],
)
async def test_workbooks_and_other_names_of_csv(harness: Harness, media_type: str, content: bytes) -> None:
    response = await harness.client.post("/forecast", content=content, headers={"Content-Type": media_type})
    assert (response.status_code, response.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert response.text.splitlines()[1].startswith("Sales,2024-01-0")
