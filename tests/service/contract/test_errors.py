"""The error tree: each error carries its code, its faults and what belongs in the log."""

from __future__ import annotations

import pytest

from service.contract.errors import (
    BrokenModel,
    DeadlineExceeded,
    FieldError,
    InvalidRequest,
    ModelFault,
    RitmoError,
    Unavailable,
)


def test_a_code_must_be_given() -> None:
    with pytest.raises(TypeError, match="code"):
        InvalidRequest("which one?")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DeadlineExceeded("late"), "deadline_exceeded"),
        (BrokenModel("spoilt"), "internal_error"),
        (ModelFault("mean", 3, "it is not finite"), "model_fault"),
        (Unavailable("full", code="queue_full", retry_after=1.0), "queue_full"),
    ],
)
def test_errors_carry_their_code(error: RitmoError, code: str) -> None:
    assert isinstance(error, RitmoError)
    assert error.code == code
    assert str(error) == error.detail


def test_a_fault_of_a_model_names_it() -> None:
    fault = ModelFault("mean", 3, "it is not finite")
    assert fault.detail == "model mean@3 gave no sound answer: it is not finite"
    assert fault.log_fields == {"model": "mean", "version": 3}


def test_faults_are_counted_beyond_those_that_are_listed() -> None:
    fields = [FieldError("#/a", "wrong_type", "no number")]
    assert InvalidRequest("one", code="wrong_type", errors=fields).errors_total == 1
    assert InvalidRequest("many", code="wrong_type", errors=fields, errors_total=12).errors_total == 12
