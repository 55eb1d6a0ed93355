"""From one plan to the next: what each change leaves, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.contract.errors import Unavailable, UnknownModel
from service.registry.planning import completed, failure, first_plan, next_plan, read_digests
from service.registry.repository import Repository
from service.runtime.model_plan import Change, ModelPlan

ON_DISK = {"a@1": "1", "a@2": "2", "a@3": "3", "b@1": "b"}


def served(plan: ModelPlan) -> set[str]:
    return set(plan.digests)


def test_the_first_plan_has_all_versions_or_the_last_ones_and_the_pinned() -> None:
    assert served(first_plan(ON_DISK)) == set(ON_DISK)
    plan = first_plan(ON_DISK, keep=1, defaults={"a": 1})
    assert served(plan) == {"a@1", "a@3", "b@1"}
    assert plan.withheld == {"a@2": ("unloaded", "only the last 1 versions are loaded (RITMO_MODEL_VERSIONS)")}
    assert plan.defaults == {"a": 1}


def test_every_change_has_the_next_number() -> None:
    plan = first_plan(ON_DISK)
    for number, action in enumerate(("reload", "load", "unload"), start=1):
        plan = next_plan(plan, Change(action, "a"), ON_DISK)  # type: ignore[arg-type]
        assert plan.number == number


def test_a_reload_is_what_is_on_disk_but_for_what_was_unloaded() -> None:
    plan = next_plan(first_plan(ON_DISK), Change("unload", "a", 2), ON_DISK)
    assert served(plan) == {"a@1", "a@3", "b@1"}
    changed = {"a@1": "changed", "a@2": "2", "a@4": "4", "c@1": "c"}
    plan = next_plan(plan, Change("reload"), changed)
    assert plan.digests == {"a@1": "changed", "a@4": "4", "c@1": "c"}
    assert plan.withheld == {"a@2": ("unloaded", "it was unloaded")}


def test_a_version_that_is_served_is_not_dropped_because_newer_ones_come() -> None:
    plan = first_plan({"a@1": "1"}, keep=1)
    assert served(next_plan(plan, Change("reload"), {"a@1": "1", "a@2": "2"}, keep=1)) == {"a@1", "a@2"}


def test_loading_takes_the_highest_or_the_named_version() -> None:
    empty = next_plan(first_plan(ON_DISK), Change("unload", "a"), ON_DISK)
    assert served(empty) == {"b@1"}
    assert served(next_plan(empty, Change("load", "a"), ON_DISK)) == {"a@3", "b@1"}
    one = next_plan(empty, Change("load", "a", 1), ON_DISK)
    assert served(one) == {"a@1", "b@1"}
    assert one.retried == {"a@1"}
    assert "a@1" not in one.withheld
    assert next_plan(one, Change("reload"), ON_DISK).retried == frozenset()


def test_a_default_is_loaded_and_pinned_until_it_is_unpinned_or_unloaded() -> None:
    plan = first_plan(ON_DISK, keep=1)
    plan = next_plan(plan, Change("default", "a", 1), ON_DISK)
    assert plan.defaults == {"a": 1}
    assert "a@1" in plan.digests
    assert next_plan(plan, Change("default", "a"), ON_DISK).defaults == {}
    assert next_plan(plan, Change("unload", "a", 1), ON_DISK).defaults == {}
    assert next_plan(plan, Change("take-out", "a", 1, "why"), ON_DISK).withheld["a@1"] == ("failed", "why")


@pytest.mark.parametrize("action", ["load", "unload", "default"])
def test_what_is_not_there_is_said(action: str) -> None:
    for name, version, code in (("z", 1, "model_not_found"), ("a", 9, "version_not_found")):
        with pytest.raises(UnknownModel) as error:
            next_plan(first_plan(ON_DISK), Change(action, name, version), ON_DISK)  # type: ignore[arg-type]
        assert error.value.code == code


def test_what_cannot_be_loaded_is_left_out_and_the_default_stays() -> None:
    before = first_plan(ON_DISK, defaults={"a": 2})
    change = Change("default", "a", 4)
    planned = next_plan(before, change, {**ON_DISK, "a@4": "4"})
    plan = completed(planned, {"a@4": "broken"}, before)
    assert served(plan) == set(ON_DISK)
    assert plan.withheld == {"a@4": ("failed", "broken")}
    assert plan.defaults == {"a": 2}
    error = failure(change, {"a@4": "broken"}, planned)
    assert isinstance(error, Unavailable)
    assert "a@4 could not be loaded: broken" in error.detail
    assert failure(Change("reload"), {"a@4": "broken"}, planned) is None


def test_a_served_version_that_was_changed_for_the_worse_goes_on_as_it_was() -> None:
    before = first_plan(ON_DISK)
    planned = next_plan(before, Change("reload"), {**ON_DISK, "a@3": "worse"})
    plan = completed(planned, {"a@3": "broken"}, before)
    assert plan.digests["a@3"] == "3"
    assert not plan.withheld


def test_a_folder_that_cannot_be_read_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = first_plan(ON_DISK)
    with pytest.raises(Unavailable, match="cannot be read"):
        read_digests(tmp_path / "absent", plan)
    unreadable = Repository([], {"a": "permission denied"})
    monkeypatch.setattr("service.registry.planning.scan", lambda _: unreadable)
    assert read_digests(tmp_path, plan) == {name: digest for name, digest in ON_DISK.items() if name.startswith("a@")}
