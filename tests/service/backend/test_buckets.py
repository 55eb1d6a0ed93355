"""Which rows are computed together, and how they are laid out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.backend.buckets import (
    CALL_COST,
    CHUNK,
    DEAR_CALL,
    FULL,
    LENGTHS,
    MAX_CALL_ROWS,
    ROWS,
    STEP_COST,
    ShapeBuckets,
    horizon_for,
    levels_for,
    n_dear_shards,
    n_shards,
    rows_for_threads,
)

Counts = st.lists(st.integers(0, CHUNK), min_size=0, max_size=300)


@given(counts=Counts, merge=st.booleans(), least_rows=st.sampled_from([1, 2, 4, 8]))
def test_every_row_is_in_one_group_that_holds_it(counts: list[int], merge: bool, least_rows: int) -> None:
    shapes = ShapeBuckets(least_rows)
    groups = shapes.split(np.array(counts, np.int64), merge=merge)
    rows = sorted(row for group in groups for row in group.rows.tolist())
    assert rows == [row for row, count in enumerate(counts) if count]
    for group in groups:
        assert max(counts[row] for row in group.rows) <= group.steps
        assert group.steps in LENGTHS
        assert len(group.rows) <= shapes.rows_for[len(group.rows)] <= shapes.max_rows
    assert [group.steps for group in groups] == sorted(group.steps for group in groups)


@given(counts=Counts)
def test_without_merging_padding_depends_on_a_row_alone(counts: list[int]) -> None:
    for group in ShapeBuckets().split(np.array(counts, np.int64), merge=False):
        assert {next(n for n in LENGTHS if n >= counts[row]) for row in group.rows.tolist()} == {group.steps}


@given(counts=st.lists(st.integers(1, FULL), min_size=1, max_size=128), least_rows=st.sampled_from([1, 4]))
def test_no_other_cut_between_lengths_is_cheaper(counts: list[int], least_rows: int) -> None:
    shapes = ShapeBuckets(least_rows)
    steps = sorted(next(n for n in LENGTHS if n >= count) for count in counts)
    ends = [i for i in range(1, len(steps) + 1) if i == len(steps) or steps[i] > steps[i - 1]]
    cheapest = {0: 0.0}
    for end in ends:  # price of one call: see service.backend.buckets
        prices = {begin: CALL_COST + steps[end - 1] * (STEP_COST + shapes.rows_for[end - begin]) for begin in cheapest}
        cheapest[end] = min(cheapest[begin] + price for begin, price in prices.items())
    groups = shapes.split(np.array(counts, np.int64))
    total_cost = sum(CALL_COST + group.steps * (STEP_COST + shapes.rows_for[len(group.rows)]) for group in groups)
    assert total_cost == pytest.approx(cheapest[len(steps)])


def test_few_short_rows_join_longer_ones_and_many_do_not() -> None:
    few_rows = ShapeBuckets().split(np.array([10, 100]))
    many_rows = ShapeBuckets().split(np.array([10] * 100 + [100] * 20))
    assert [(len(g.rows), g.steps) for g in few_rows] == [(2, 104)]
    assert [(len(g.rows), g.steps) for g in many_rows] == [(100, 12), (20, 104)]


def test_a_call_of_many_steps_takes_fewer_rows() -> None:
    groups = ShapeBuckets().split(np.array([CHUNK] * 50 + [200] * 50 + [9]))
    assert all(g.steps <= FULL or g.steps * ShapeBuckets().rows_for[len(g.rows)] <= FULL * ROWS[-1] for g in groups)
    assert sum(len(g.rows) for g in groups) == 101
    assert ShapeBuckets().max_rows_of(CHUNK) == 32
    assert ShapeBuckets().max_rows_of(FULL) == ROWS[-1]
    assert ShapeBuckets(200).max_rows_of(CHUNK) == 200


def test_rows_are_padded_to_the_least_count_that_agrees() -> None:
    shapes = ShapeBuckets(8)
    assert [shapes.rows_for[n] for n in (1, 8, 9, 128)] == [8, 8, 12, 128]
    assert shapes.rows == tuple(r for r in ROWS if r >= 8)
    assert ShapeBuckets(200).rows == (200,)


def test_steps_are_padded_to_the_least_number_that_agrees() -> None:
    counts = np.array([1, 2, 3, 5, 0])
    assert [g.steps for g in ShapeBuckets(least_steps=4).split(counts, merge=False)] == [4, 8]
    assert [g.steps for g in ShapeBuckets().split(counts, merge=False)] == [1, 2, 4, 8]


@given(steps=st.integers(1, 2000), longest=st.none() | st.integers(1, 2000))
def test_horizons_are_rounded_up_within_what_the_model_can(steps: int, longest: int | None) -> None:
    if longest is not None and steps > longest:
        return
    rounded = horizon_for(steps, longest)
    assert rounded >= steps
    assert longest is None or rounded <= longest
    assert rounded <= max(steps * 1.5, steps + 63)


def test_levels_are_rounded_up() -> None:
    assert [levels_for(n) for n in (0, 1, 2, 3, 4, 99, 100)] == [1, 1, 3, 3, 5, 99, 100]


def test_more_threads_share_calls_of_more_rows() -> None:
    assert rows_for_threads(1) == ROWS
    assert rows_for_threads(2)[len(ROWS) :] == tuple(range(144, 257, 16))
    assert rows_for_threads(4)[-1] == 512
    assert rows_for_threads(64)[-1] == MAX_CALL_ROWS  # more rows than a request brings are not warmed
    for threads in (1, 2, 3, 5, 8, 9, 64):
        rows = rows_for_threads(threads)
        assert list(rows) == sorted(set(rows))
        for count in rows:
            for steps in (1, 8, 50, CHUNK):
                shards = n_shards(count, steps, threads)
                assert shards <= threads
                assert count % shards == 0
                assert count // shards in ROWS


def test_small_calls_are_not_shared() -> None:
    assert n_shards(128, 50, 1) == 1
    assert [n_shards(rows, 50, 4) for rows in (1, 32, 56, 64, 96, 128)] == [1, 1, 1, 2, 3, 4]
    assert [n_shards(64, steps, 2) for steps in (1, 31, 32)] == [1, 1, 2]


def test_dear_calls_are_shared_whatever_their_rows() -> None:
    dear, threads, least_rows = DEAR_CALL, 4, 2
    shards = [n_dear_shards(rows, dear, threads, least_rows) for rows in (1, 2, 4, 8, 12, 24)]
    assert shards == [1, 1, 2, 4, 3, 3]
    assert n_dear_shards(8, 0.5 * dear, threads, least_rows) == 1
    assert n_dear_shards(8, dear, 1, least_rows) == 1
