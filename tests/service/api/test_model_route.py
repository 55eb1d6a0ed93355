from __future__ import annotations

import pytest

from service.api.model_route import parts


@pytest.mark.parametrize(
    ("lengths", "sizes"),
    [
        ([], []),
        ([1] * 7, [3, 3, 1]),
        ([4, 4, 4], [2, 1]),
        ([20, 1, 1], [1, 2]),  # one that has more values than a part comes alone
        ([1, 20], [1, 1]),
    ],
)
def test_parts_are_within_both_limits(lengths: list[int], sizes: list[int]) -> None:
    slices = parts(lengths, max_items=3, max_values=10)
    assert [len(lengths[part]) for part in slices] == sizes
    assert [length for part in slices for length in lengths[part]] == lengths
