"""service.imaging.parameters: every field is used, and its docstring repeats what the committed run measured."""

from __future__ import annotations

import ast
from dataclasses import FrozenInstanceError, fields
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks import table
from benchmarks.digits import sensitivity
from service.imaging import parameters
from service.imaging.parameters import PARAMETERS, ImagingParameters

MEASURED = sensitivity.by_parameter(table.read(sensitivity.CSV, sensitivity.Row))
NAMES = [field.name for field in fields(ImagingParameters)]


def docstrings() -> dict[str, str]:
    """The text under each field."""
    module = ast.parse(Path(parameters.__file__).read_text(encoding="utf-8"))
    [body] = [node.body for node in module.body if isinstance(node, ast.ClassDef)]
    return {
        field.target.id: text.value.value
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_field_names_unit_meaning_and_sensitivity(name: str) -> None:
    meaning, _, sensitivity_text = docstrings()[name].partition("\n\n")
    assert meaning.count(". ") == 1, "the unit; one sentence"
    assert sensitivity_text.strip() == sensitivity.sentence(MEASURED[name])


@pytest.mark.parametrize("name", NAMES)
def test_the_run_measured_the_value_in_use(name: str) -> None:
    default = getattr(PARAMETERS, name)
    for row, (change, value) in zip(MEASURED[name], sensitivity.variants(default), strict=True):
        assert row.change == change
        assert (row.default, row.value) == pytest.approx((default, value), rel=1e-4)


def test_every_field_is_used_and_can_be_exchanged() -> None:
    names: set[str] = set()
    for module in sensitivity.MODULES:
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        names |= {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "PARAMETERS"
        }
        assert vars(module)["PARAMETERS"] is PARAMETERS
    assert names == set(NAMES)


def test_parameters_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        PARAMETERS.overlap = 2.5  # type: ignore[misc]
