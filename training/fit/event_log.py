"""Curves as TensorBoard reads them: `tensorboard --logdir runs` shows every fit while it runs, as `curves.csv` does.

An event file is a series of records (length, checksum, content, checksum; little endian), each content an `Event` of
protocol buffers: 1 wall time (double), 2 step (int64), 3 version of the file, 5 a summary with values of a tag (1) and
a float (2). Written by hand, it needs no package; the checksum is the masked CRC-32C of TFRecord.
"""

from __future__ import annotations

import math
import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path

POLYNOMIAL = 0x82F63B78  # Castagnoli's, reversed
VERSION = b"brain.Event:2"


def _table() -> tuple[int, ...]:
    rows = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
        rows.append(value)
    return tuple(rows)


_TABLE = _table()


def masked_checksum(data: bytes) -> int:
    """The CRC-32C of `data`, rotated and shifted as TFRecord does."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    value ^= 0xFFFFFFFF
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


class EventLog:
    """The event file of one fit in one process; a fit that goes on writes a further file, and both are shown as one."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"events.out.tfevents.{time.time_ns() // 1000}.{os.getpid()}"
        self._append(_field(3, VERSION))

    def add(self, row: Mapping[str, float]) -> None:
        """Append a row of the curves: each of its numbers but `step` under its name."""
        values = b"".join(
            _field(1, _field(1, name.encode()) + b"\x15" + struct.pack("<f", value))
            for name, value in row.items()
            if name != "step" and math.isfinite(value)
        )
        self._append(b"\x10" + _varint(int(row["step"])) + _field(5, values))

    def _append(self, content: bytes) -> None:
        event = b"\x09" + struct.pack("<d", time.time()) + content
        length = struct.pack("<Q", len(event))
        with self.path.open("ab") as file:
            file.write(length + struct.pack("<I", masked_checksum(length)))
            file.write(event + struct.pack("<I", masked_checksum(event)))


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes: its number and kind, its length, and what it holds."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content
