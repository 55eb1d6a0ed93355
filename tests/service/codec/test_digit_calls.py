from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from service.codec.common import INPUT_NUMBERS
from service.codec.digit_calls import hypothesis_items
from service.contract.errors import InvalidRequest
from service.contract.manifest import StateContract
from service.imaging.hypotheses import Hypothesis
from tests.pictures import drawn, encoded
from tests.service.codec.digit_calls import CODEC, CONTRACT, ROW, decode, to_items

REPORT: Any = None


@pytest.mark.parametrize(
    ("parameters", "size"), [({}, 20), ({"trace": True}, 20 + 3 * 5), ({"return_state": True}, 20 + 2 * 8 // 4)]
)
def test_the_size_of_an_answer_is_that_of_its_numbers_and_of_its_digits(parameters: dict[str, Any], size: int) -> None:
    contract = CONTRACT.model_copy(update={"state": StateContract(width=8, exact=1)})
    batch = decode(inputs=[{"rows": [ROW] * 2}, {"rows": [ROW] * 3}], parameters=parameters)
    assert CODEC.to_items(batch, contract).answer_size == size + 2 * INPUT_NUMBERS


def test_hypotheses_are_read_to_their_end_where_the_answer_may_stop_early() -> None:
    one, two = ([Hypothesis(np.zeros((28, 28), np.float32), REPORT)] * count for count in (1, 2))
    assert [item.stop for item in hypothesis_items(one, trace=False, stop=0.9)[0]] == [0.9]
    items, stopped = hypothesis_items(two, trace=True, stop=0.9)
    assert [item.stop for item in items] == [None, None, 0.9, 0.9]
    assert (stopped, all(item.trace for item in items)) == (2, True)
    assert hypothesis_items(two, trace=False, stop=None)[1] is None


def test_a_picture_is_refused_by_a_model_that_reads_other_numbers_of_rows() -> None:
    """The faults of all inputs are listed, rows and pictures."""
    image = base64.b64encode(encoded(drawn())).decode()
    with pytest.raises(InvalidRequest) as caught:
        to_items(decode(inputs=[{"image": image}, {"rows": [ROW]}]), min_length=29)
    faults = {(error.pointer, error.code) for error in caught.value.errors}
    assert faults == {(f"#/inputs/{index}/rows", "length_not_supported") for index in (0, 1)}
