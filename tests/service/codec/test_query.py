from __future__ import annotations

import pytest

from service.codec.query import MAX_FIELDS, parse_query, refuse_query
from service.contract.errors import InvalidRequest


def test_the_last_of_a_repeated_field_counts() -> None:
    assert parse_query(b"trace=true&item_id=a%20b&trace=&x") == {"trace": "", "item_id": "a b", "x": ""}


def test_too_many_fields_are_refused_and_not_a_failure() -> None:
    assert len(parse_query(b"&".join(b"a%d=1" % number for number in range(MAX_FIELDS)))) == MAX_FIELDS
    with pytest.raises(InvalidRequest) as caught:
        parse_query(b"&".join(b"a%d=1" % number for number in range(MAX_FIELDS + 1)))
    assert caught.value.code == "out_of_range"


def test_every_field_beside_a_json_body_is_refused_by_name() -> None:
    refuse_query(b"&")  # no field
    with pytest.raises(InvalidRequest) as caught:
        refuse_query(b"model=a&x=1&x=2")
    assert [(error.pointer, error.code) for error in caught.value.errors] == [
        ("#/model", "unknown_field"),
        ("#/x", "unknown_field"),
    ]
