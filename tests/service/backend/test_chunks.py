"""Rows read chunk by chunk: what comes together, what ends, and that cancelled rows are left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from service.backend.buckets import CHUNK, STEPWISE_CHUNK, ShapeBuckets
from service.backend.chunks import CancelledRows, ChunkReader, pack, pad_rows
from service.contract.types import PaddingStats


def reader(
    lengths: Sequence[int],
    cancelled: CancelledRows = tuple,
    padding: PaddingStats | None = None,
    *,
    stepwise: bool = False,
) -> ChunkReader:
    inputs = [np.full(length, float(row)) for row, length in enumerate(lengths)]
    members = range(len(lengths))
    return ChunkReader(ShapeBuckets(), inputs, members, cancelled, padding or PaddingStats(), stepwise=stepwise)


def test_every_value_is_read_once_and_in_order() -> None:
    lengths = [0, 3, CHUNK, CHUNK + 1, 2 * CHUNK + 7, 40]
    n_read = [0] * len(lengths)
    for chunk in reader(lengths).chunks():
        for row, values, count in zip(chunk.rows.tolist(), chunk.values, chunk.lengths.tolist(), strict=False):
            assert (values[:count] == row).all()
            n_read[row] += count
    assert n_read == lengths


def test_a_chunk_says_which_of_its_rows_end_with_it() -> None:
    chunk_reader = reader([STEPWISE_CHUNK, STEPWISE_CHUNK + 1, 5], stepwise=True)
    chunks = list(chunk_reader.chunks())
    assert [(chunk.rows.tolist(), chunk.ending.tolist()) for chunk in chunks] == [
        ([2], [2]),
        ([0, 1], [0]),
        ([1], [1]),
    ]


def test_rows_without_values_come_first_and_without_a_call() -> None:
    first, second = reader([0, 8, 0]).chunks()
    assert (first.rows.tolist(), first.ending.tolist(), first.values.size, len(first.lengths)) == ([0, 2], [0, 2], 0, 0)
    assert second.rows.tolist() == [1]
    assert first.cost_of_later_groups > second.cost_of_later_groups == 0


def test_rows_cancelled_before_a_chunk_are_left_out_of_it() -> None:
    cancelled = {1}
    chunks = reader([8, 8, CHUNK + 1], lambda: cancelled).chunks()
    assert next(chunks).rows.tolist() == [0, 2]
    cancelled.add(2)
    assert list(chunks) == []


def test_a_group_cancelled_while_an_earlier_one_was_read_is_not_packed() -> None:
    cancelled: set[int] = set()
    padding = PaddingStats()
    chunks = reader([8] * 100 + [CHUNK] * 30, lambda: cancelled, padding).chunks()
    assert len(next(chunks).rows) == 100
    n_computed = padding.computed
    cancelled.update(range(100, 130))
    assert [len(chunk.rows) for chunk in chunks] == [0]
    assert padding.computed == n_computed


def test_ended_rows_are_those_that_were_not_cancelled_meanwhile() -> None:
    cancelled: set[int] = set()
    chunk_reader = reader([8, 8, 8], lambda: cancelled)
    chunk = next(chunk_reader.chunks())
    cancelled.add(1)
    assert chunk_reader.ended(chunk).tolist() == [0, 2]


def test_a_row_that_was_ended_is_read_no_further() -> None:
    chunk_reader = reader([2 * CHUNK, 2 * CHUNK])
    chunks = chunk_reader.chunks()
    chunk = next(chunks)
    chunk_reader.end(np.array([0]))
    assert chunk_reader.ended(chunk).tolist() == [0]
    assert [chunk.rows.tolist() for chunk in chunks] == [[1]]


@pytest.mark.parametrize("stepwise", [True, False])
def test_padding_is_counted(stepwise: bool) -> None:
    padding = PaddingStats()
    chunks = list(reader([3, 9, 70], padding=padding, stepwise=stepwise).chunks())
    assert padding.real == 82
    assert padding.computed == sum(chunk.values.size for chunk in chunks) > 82


@pytest.mark.parametrize("shape", [(), (28,)])
def test_pack_pads_on_the_right_with_zeros_and_below_with_the_last_row(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(n, *shape)).astype(np.float32) for n in (3, 1, 0, 4)]
    dense, counts = pack(sequences, 6, 5)
    assert dense.shape == (6, 5, *shape)
    assert dense.dtype == np.float32
    assert counts.tolist() == [3, 1, 0, 4, 4, 4]
    for row, sequence in zip(dense, [*sequences, sequences[-1], sequences[-1]], strict=True):
        np.testing.assert_array_equal(row[: len(sequence)], sequence)
        assert not row[len(sequence) :].any()


def test_padded_repeats_the_last_row() -> None:
    assert pad_rows(np.array([4, 2]), 4).tolist() == [4, 2, 2, 2]
    assert pad_rows(np.array([4, 2]), 2).tolist() == [4, 2]
