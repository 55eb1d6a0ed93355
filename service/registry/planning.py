"""From one plan of models to the next: what a change asks for, by what is `available` on disk; nothing is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from service.contract.errors import BrokenModel, RitmoError, Unavailable, UnknownModel
from service.registry.repository import digests_of, scan
from service.runtime.model_plan import Change, ModelPlan, Withheld

Digests = Mapping[str, str | None]


def read_digests(models: Path, plan: ModelPlan) -> dict[str, str | None]:
    """The versions below `models` with their digests; those of a name that cannot be read are taken for unchanged.

    Raises `Unavailable` where the folder cannot be read: that it is empty must not be concluded from it.
    """
    try:
        repository = scan(models)
    except BrokenModel as error:
        raise Unavailable(error.detail, code="model_not_ready") from error
    unreadable = {
        name: digest for name, digest in plan.digests.items() if name.partition("@")[0] in repository.unreadable
    }
    return {**unreadable, **digests_of(repository.versions)}


def first_plan(available: Digests, keep: int | None = None, defaults: Mapping[str, int] | None = None) -> ModelPlan:
    """The plan to start with: of each name the last `keep` versions (None: all), and the one that `defaults` names."""
    return _reloaded(ModelPlan(defaults=dict(defaults or {})), available, keep)


def next_plan(plan: ModelPlan, change: Change, available: Digests, keep: int | None = None) -> ModelPlan:
    """The plan after `change`; raises `UnknownModel` for a name or version that is not there."""
    result = replace(plan, number=plan.number + 1, retried=frozenset())
    if change.action == "reload":
        return _reloaded(result, available, keep)
    if change.action == "take-out":
        return _withhold(result, [f"{change.name}@{change.version}"], "failed", change.reason)
    if change.action == "unload":
        chosen = _versions(change, {**dict.fromkeys(plan.withheld), **plan.digests})
        return _withhold(result, [f"{change.name}@{number}" for number in chosen], "unloaded", "it was unloaded")
    if change.action == "default" and change.version is None:
        return replace(result, defaults={name: v for name, v in plan.defaults.items() if name != change.name})
    number = max(_versions(change, available))
    reference = f"{change.name}@{number}"
    result = replace(
        result,
        digests={**result.digests, reference: available[reference]},
        withheld={name: why for name, why in result.withheld.items() if name != reference},
        retried=frozenset({reference}),
    )
    return replace(result, defaults={**result.defaults, change.name: number}) if change.action == "default" else result


def completed(plan: ModelPlan, failures: Mapping[str, str], previous: ModelPlan) -> ModelPlan:
    """`plan` without the versions that could not be loaded, for the reasons in `failures`.

    One that was served, and was changed on disk, goes on as it was. A name keeps the default that it had.
    """
    goes_on = {name for name in failures if previous.digests.get(name) not in (None, plan.digests[name])}
    digests = {
        name: previous.digests[name] if name in goes_on else digest
        for name, digest in plan.digests.items()
        if name in goes_on or name not in failures
    }
    failed: dict[str, tuple[Withheld, str]] = {n: ("failed", why) for n, why in failures.items() if n not in goes_on}
    defaults = dict(plan.defaults)
    for name, version in plan.defaults.items():
        if f"{name}@{version}" in failed and name in previous.defaults:
            defaults[name] = previous.defaults[name]
        elif f"{name}@{version}" in failed:
            del defaults[name]
    return replace(plan, digests=digests, withheld={**plan.withheld, **failed}, defaults=defaults)


def failure(change: Change, failures: Mapping[str, str], plan: ModelPlan) -> RitmoError | None:
    """The answer to `change` where the versions that it is about could not be loaded."""
    about = [name for name in plan.retried if name in failures]
    if change.action not in ("load", "default") or not about:
        return None
    return Unavailable(f"model {about[0]} could not be loaded: {failures[about[0]]}", code="model_not_ready")


def _reloaded(plan: ModelPlan, available: Digests, keep: int | None) -> ModelPlan:
    """What is on disk now; what was unloaded or is too old stays out, what failed is tried again where it changed."""
    digests: dict[str, str | None] = {}
    withheld: dict[str, tuple[Withheld, str]] = {}
    for name in {reference.partition("@")[0] for reference in available}:
        numbers = sorted(
            int(reference.partition("@")[2]) for reference in available if reference.startswith(f"{name}@")
        )
        recent = set(numbers if keep is None else numbers[-keep:]) | {plan.defaults.get(name)}
        for number in numbers:
            reference = f"{name}@{number}"
            if reference in plan.withheld and plan.withheld[reference][0] == "unloaded":
                withheld[reference] = plan.withheld[reference]
            elif number in recent or reference in plan.digests:
                digests[reference] = available[reference]
            else:
                withheld[reference] = "unloaded", f"only the last {keep} versions are loaded (RITMO_MODEL_VERSIONS)"
    return replace(plan, digests=digests, withheld=withheld)


def _withhold(plan: ModelPlan, references: list[str], state: Withheld, reason: str) -> ModelPlan:
    remaining = {name: digest for name, digest in plan.digests.items() if name not in references}
    defaults = {n: v for n, v in plan.defaults.items() if f"{n}@{v}" not in references}
    return replace(
        plan,
        digests=remaining,
        withheld={**plan.withheld, **dict.fromkeys(references, (state, reason))},
        defaults=defaults,
    )


def _versions(change: Change, known: Mapping[str, object]) -> list[int]:
    """The versions among `known` that a change is about."""
    of_name = [int(reference.partition("@")[2]) for reference in known if reference.partition("@")[0] == change.name]
    if not of_name:
        raise UnknownModel(f"there is no model {change.name[:64]!r}", code="model_not_found")
    if change.version is None:
        return of_name
    if change.version not in of_name:
        numbers = ", ".join(map(str, sorted(of_name)))
        raise UnknownModel(
            f"model {change.name!r} has no version {change.version}; it has {numbers}", code="version_not_found"
        )
    return [change.version]
