"""Which versions of models are served, as all processes of a service are told, and the changes that may be asked for.

A reference is `name@version`. A plan has a number, higher than that of the plan before it, and never changes: whatever
is asked for makes another one, which all processes prepare while they serve by the one before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Action = Literal["reload", "load", "unload", "default", "take-out"]
Withheld = Literal["unloaded", "failed"]


@dataclass(frozen=True, slots=True)
class Change:
    """A change of what is served: `reload` looks at all of the folder, the others are about one name or one version."""

    action: Action
    name: str = ""
    version: int | None = None
    reason: str = ""  # of a `take-out`


@dataclass(frozen=True, slots=True)
class Preparation:
    """A part of the preparation of a version that calls its network, and may therefore end the process."""

    reference: str
    digest: str | None  # of its manifest
    part: Literal["loaded", "warmed up"]


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """The versions to serve, each with the digest of its manifest, None where that cannot be read."""

    number: int = 0
    digests: Mapping[str, str | None] = field(default_factory=dict)
    withheld: Mapping[str, tuple[Withheld, str]] = field(
        default_factory=dict
    )  # on disk, not served: how it stands, why
    defaults: Mapping[str, int] = field(default_factory=dict)  # of names: the version that the bare name means
    retried: frozenset[str] = frozenset()  # loaded again although they failed before, unchanged
