"""training.fit.event_log: files that TensorBoard reads."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from training.fit.event_log import EventLog, masked_checksum


def records(path: Path) -> list[bytes]:
    """The contents of all records, their checksums verified."""
    data, place, contents = path.read_bytes(), 0, []
    while place < len(data):
        (size,) = struct.unpack_from("<Q", data, place)
        assert struct.unpack_from("<I", data, place + 8)[0] == masked_checksum(data[place : place + 8])
        contents.append(data[place + 12 : place + 12 + size])
        assert struct.unpack_from("<I", data, place + 12 + size)[0] == masked_checksum(contents[-1])
        place += 16 + size
    return contents


def test_the_checksum_is_that_of_tfrecord() -> None:
    # CRC-32C of "123456789" is 0xE3069283 (RFC 3720, appendix B.4); masked as TFRecord's documentation says.
    crc = 0xE3069283
    assert masked_checksum(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_rows_become_events(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.add({"step": 300, "loss": 0.5, "mase": float("nan")})
    version, event = records(log.path)
    assert version.endswith(b"brain.Event:2")
    assert event[9:12] == b"\x10\xac\x02", "field 2, the step: 300 in seven bits a byte"
    assert b"loss" in event
    assert struct.pack("<f", 0.5) in event
    assert b"mase" not in event, "what is not finite is left out"


def test_tensorboard_reads_it(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = EventLog(tmp_path)
    for step in (10, 20):
        log.add({"step": step, "loss": step / 4})
    events = accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(10, 2.5), (20, 5.0)]
