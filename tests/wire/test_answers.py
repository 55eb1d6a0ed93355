"""Every recorded request is answered today as it was when `answers.json` was written.

Statuses, headers, strings, integers and the order of names must be the same, floats nearly the same: their last bits
depend on the processor. The tolerance is that of the models' own golden answers; `record.py` compares bit for bit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from tests.wire.cases import CASES, Case, Request
from tests.wire.client import Servers, readable, servers
from tests.wire.record import ANSWERS

RELATIVE = 1e-4  # of a number or of the largest one in its list; kernels for AVX2 and AVX-512 differ by up to 2e-5
ABSOLUTE = 1e-9
RECORDED: dict[str, Any] = json.loads(ANSWERS.read_text("utf-8"))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with servers(tmp_path_factory.mktemp("wire") / "models") as both:
        yield both


def differences(expected: Any, found: Any, place: str = "", scale: float = 0.0) -> Iterator[str]:
    """Every place where two documents differ; floats may differ by little of themselves or of `scale`."""
    if type(expected) is not type(found):
        yield f"{place}: {expected!r} is now {found!r}"
    elif isinstance(expected, dict):
        if list(expected) != list(found):
            yield f"{place}: names {list(expected)} are now {list(found)}"
        for name in expected:
            if name in found:
                yield from differences(expected[name], found[name], f"{place}/{name}")
    elif isinstance(expected, list):
        if len(expected) != len(found):
            yield f"{place}: {len(expected)} entries are now {len(found)}"
        largest = max((abs(one) for one in expected if isinstance(one, float)), default=0.0)
        for index, (one, other) in enumerate(zip(expected, found, strict=False)):
            yield from differences(one, other, f"{place}/{index}", largest)
    elif isinstance(expected, float):
        if not math.isclose(expected, found, rel_tol=RELATIVE, abs_tol=ABSOLUTE + RELATIVE * scale):
            yield f"{place}: {expected!r} is now {found!r}"
    elif expected != found:
        yield f"{place}: {expected!r} is now {found!r}"


def test_every_case_is_recorded() -> None:
    assert [case.name for case in CASES] == list(RECORDED)


def _takes_the_fast_path(case: Case) -> bool:
    paths = {exchange.path for exchange in case.exchanges if isinstance(exchange, Request) and exchange.body}
    return not case.drained and not paths.isdisjoint({"/forecast", "/classify-digit"})


@pytest.mark.parametrize("case", [case for case in CASES if _takes_the_fast_path(case)], ids=lambda case: case.name)
def test_the_answer_is_the_same_where_the_body_comes_late(both: Servers, case: Case) -> None:
    """A request whose body follows its head after a while takes a task (see `service.api.fast_path`)."""
    at_once, late = ([readable(answer) for answer in both.ask(case, pause)] for pause in (0.0, 0.03))
    for answers in (at_once, late):
        for answer in answers:  # a refusal that does not wait for the body ends the connection
            answer["headers"] = [header for header in answer["headers"] if header[0].lower() != "connection"]
    assert late == at_once


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_answer_is_as_recorded(both: Servers, case: Case) -> None:
    found = [readable(answer) for answer in both.ask(case)]
    listed = list(differences(RECORDED[case.name], json.loads(json.dumps(found))))
    assert not listed, "\n".join(listed[:20])


def test_a_difference_is_found() -> None:
    one = {"a": [1, 2.5, "x"], "b": {"c": True}}
    assert not list(differences(one, {"a": [1, 2.5 + 1e-7, "x"], "b": {"c": True}}))
    for other in (
        {"b": {"c": True}, "a": [1, 2.5, "x"]},
        {"a": [1.0, 2.5, "x"], "b": {"c": True}},
        {"a": [1, 2.501, "x"], "b": {"c": True}},
        {"a": [1, 2.5], "b": {"c": True}},
        {"a": [1, 2.5, "x"], "b": {"c": 1}},
        {"a": [1, 2.5, "x"], "b": {"c": True}, "d": None},
    ):
        assert list(differences(one, other))
