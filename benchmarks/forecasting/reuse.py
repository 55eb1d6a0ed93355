"""Rows of the peers from the committed file, where the windows and the peers' release are still the same."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.forecasting.rows import POINT_BASE, SAMPLE, Row
from benchmarks.forecasting.windows import Part


def committed_row(rows: Sequence[Row], method: str, part: Part, base: Row, release: str) -> Row | None:
    """The row of `method` on the sample `part` as it was measured, or None where it has to be measured.

    `base` is the base's row on `part`, `release` the pinned requirement of the peers (`name==version`). Rows of before
    2026-11-29 have no key of their windows; the point scores of the naive forecast that was measured with them have to
    equal those of `base` in all five digits instead.
    """
    row = _find(rows, method, part)
    if row is None or release.replace("==", " ") not in row.versions:
        return None
    is_same = row.windows_key == part.key if row.windows_key else _same_windows(_find(rows, POINT_BASE, part), base)
    return row if is_same else None


def _same_windows(point: Row | None, base: Row) -> bool:
    return point is not None and _fingerprint(point) == _fingerprint(base)


def _fingerprint(row: Row) -> tuple[object, ...]:
    scores = (row.mase, row.smape, row.mase_one_step)
    return row.windows, row.longest, *(f"{score:.5g}" for score in scores)


def _find(rows: Sequence[Row], method: str, part: Part) -> Row | None:
    return next((r for r in rows if (r.part, r.file, r.method) == (SAMPLE, part.file, method)), None)
