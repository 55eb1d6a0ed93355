"""The audit log: who, what, how much and how it ended; never what was sent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from service.api import audit
from service.api.audit import AuditLog
from tests.service.api.harness import Harness
from tests.service.api.test_access import Keyed, handshake

SECRET = 271828.25


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def audited(tmp_path: Path, **changes: Any) -> tuple[Keyed, Path]:
    path = tmp_path / "audit.jsonl"
    return Keyed(tmp_path, audit_log=path, **changes), path


def flush(harness: Harness) -> None:
    log = harness.app._recorder._audit
    assert log is not None
    log.flush()


async def test_every_outcome_has_a_line_and_no_line_has_the_data(tmp_path: Path) -> None:
    keyed, path = audited(tmp_path)
    body = {"inputs": [{"target": [SECRET], "item_id": "secret-item"}]}
    key, name = keyed.keys["infer"], keyed.keys["infer"].split("_")[1]
    await keyed.forecast(body, **keyed.header(), **{"X-Request-ID": "one"})
    await keyed.forecast(body)
    await keyed.forecast(body, **keyed.header("observe"))
    await keyed.forecast({"inputs": [{"target": ["secret-item"]}]}, **keyed.header())
    await keyed.client.get("/models?secret-item=1", headers=keyed.header())
    await keyed.client.post("/invocations", json=body, headers=keyed.header())
    await handshake(keyed, ("X-API-Key", key))
    await handshake(keyed)
    flush(keyed)
    text = path.read_text()
    for secret in (str(SECRET), "secret-item", key, key.split("_", 2)[2]):
        assert secret not in text
    entries = lines(path)
    assert [(entry["path"], entry["status"], entry.get("key")) for entry in entries] == [
        ("/forecast", 200, name),
        ("/forecast", 401, None),
        ("/forecast", 403, keyed.keys["observe"].split("_")[1]),
        ("/forecast", 422, name),
        ("/models", 422, name),
        ("/invocations", 200, name),
        ("/forecast/stream", 101, name),
        ("/forecast/stream", 101, name),
        ("/forecast/stream", 401, None),
    ]
    assert (entries[0]["request_id"], entries[0]["model"], entries[0]["method"]) == ("one", "forecaster", "POST")
    assert entries[0]["bytes"] == len(json.dumps(body))
    assert entries[0]["address"] == "127.0.0.1"
    assert (entries[5]["model"], entries[5]["bytes"] > 0) == ("forecaster", True)
    assert [entry["event"] for entry in entries[6:]] == ["opened", "closed", "request"]
    assert (entries[7]["messages"], entries[7]["model"]) == (2, "forecaster")


async def test_behind_a_trusted_proxy_the_address_is_the_callers(tmp_path: Path) -> None:
    keyed, path = audited(tmp_path, trusted_proxies="127.0.0.1")
    await keyed.forecast({}, **keyed.header(), **{"X-Forwarded-For": "203.0.113.9"})
    flush(keyed)
    assert lines(path)[0]["address"] == "203.0.113.9"


def record(log: AuditLog, path: str = "/x") -> None:
    log.record(
        "request", request_id="r", key=None, address="", method="GET", path=path, status=200, size=None, seconds=0.1
    )


def test_the_file_may_be_renamed_at_any_time(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "log")
    record(log)
    log.flush()
    (tmp_path / "log").rename(tmp_path / "log.1")
    record(log)
    log.flush()
    log.flush()
    assert len(lines(tmp_path / "log")) == len(lines(tmp_path / "log.1")) == 1


def test_lines_wait_while_the_file_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(audit, "_MAX_LINES", 3)
    folder = tmp_path / "folder"
    folder.mkdir()
    log = AuditLog(folder / "log")
    (folder / "log").unlink()
    folder.rmdir()
    for _ in range(5):
        record(log)
        log.flush()
    assert caplog.text.count("cannot be written") == 1
    folder.mkdir()
    log.flush()
    assert len(lines(folder / "log")) == 3
    assert "2 lines are lost" in caplog.text


def test_a_disk_that_takes_a_part_gets_the_rest_later(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = AuditLog(path)
    for number in range(20):
        record(log, f"/{number}")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # as on a disk without room, in the middle of a line
    try:
        log.flush()
        assert path.stat().st_size == 1000
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    record(log, "/20")
    log.flush()
    assert [entry["path"] for entry in lines(path)] == [f"/{number}" for number in range(21)]


def test_a_log_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        AuditLog(tmp_path / "nowhere" / "log")


def test_a_long_path_is_cut(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "log")
    record(log, "/" + "x" * 100_000)
    log.flush()
    assert len(lines(tmp_path / "log")[0]["path"]) == 256


async def test_lines_reach_the_file_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_SECONDS", 0.001)
    log = AuditLog(tmp_path / "log")
    task = asyncio.create_task(log.run())
    record(log)
    async with asyncio.timeout(100):
        while not (tmp_path / "log").read_text():  # noqa: ASYNC110 (a file sets no event)
            await asyncio.sleep(0.001)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_without_keys_there_is_a_log_all_the_same(tmp_path: Path) -> None:
    harness = Harness(audit_log=tmp_path / "log")
    await harness.forecast({"inputs": [{"target": [1]}]})
    flush(harness)
    assert lines(tmp_path / "log")[0].get("key") is None


def test_a_named_pipe_is_not_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(OSError, match="No such device"):  # nobody reads it
        AuditLog(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        log = AuditLog(path)
        fields: dict[str, Any] = {"key": None, "address": "", "method": "GET", "status": 200, "size": 0, "seconds": 0.0}
        for number in range(2000):
            log.record("request", request_id=str(number), path="/" + "x" * 200, **fields)
        log.flush()
        assert "its reader does not read" in caplog.text
        text = b""
        while log._lines:
            text += os.read(reader, 1 << 20)
            log.flush()
        text += os.read(reader, 1 << 20)
        assert [json.loads(line)["request_id"] for line in text.splitlines()] == [str(number) for number in range(2000)]
    finally:
        os.close(reader)
