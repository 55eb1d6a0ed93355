"""What the program in a TorchScript archive may not do: keep something between calls, draw random numbers, print.

Its source lies in the archive as text, in static single assignment: one statement a line, and no name is bound twice in
a function. So a few patterns tell what is done to the module's own attributes, without running anything; 120 KB take
some milliseconds.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator

_ASSIGNED = re.compile(r"\s+((?:self|\w+)(?:\.\w+)+) = ")
_BOUND = re.compile(r"\s+(\w+) = (.*)")
_ATTRIBUTE = re.compile(r"(\w+)\.\w+$")
_VIEWS = (
    "alias|detach|diagonal|expand|expand_as|narrow|numpy_T|permute|real|reshape|select|slice|split|squeeze|t|transpose|"
    "unbind|unflatten|unfold|unsqueeze|view|view_as|flatten"
)
_VIEW = re.compile(rf"(?:torch\.(?:{_VIEWS})\()+(\w+)")
_IN_PLACE = re.compile(
    rf"torch\.((?!_)\w*[a-z0-9]_|_set_item|append|clear|extend|insert|pop)\((?:torch\.(?:{_VIEWS})\()*"
    r"(\w+(?:\.\w+)*)"
)
_RANDOM = re.compile(
    r"torch\.((?:rand|randn|randint)(?:_like)?|randperm|bernoulli_?|binomial|cauchy_|exponential_|geometric_|log_normal_"
    r"|multinomial|normal_?|poisson|random_|uniform_)\("
)
_PRINT = re.compile(r"\s+print\(")


def forbidden(archive: zipfile.ZipFile) -> str | None:
    """What the program in `archive` does that it may not, in words; None where it does nothing of the kind."""
    for name in sorted(archive.namelist()):
        if "/code/" in name and name.endswith(".py"):
            fault = next(_faults(archive.read(name).decode("utf-8", "replace")), None)
            if fault is not None:
                return fault
    return None


def _faults(source: str) -> Iterator[str]:
    method, own = "", {"self"}  # names of what belongs to the module
    for line in source.splitlines():
        if (definition := re.match(r"\s*def (\w+)\(", line)) is not None:
            method, own = definition.group(1), {"self"}
            continue
        if (random := _RANDOM.search(line)) is not None:
            yield f"{method}() draws random numbers (torch.{random.group(1)})"
        if _PRINT.match(line):
            yield f"{method}() prints"
        assigned = _ASSIGNED.match(line)
        if assigned is not None and assigned.group(1).partition(".")[0] in own:
            yield f"{method}() changes {assigned.group(1)}"
        for change in _IN_PLACE.finditer(line):
            if change.group(2).partition(".")[0] in own:
                yield f"{method}() changes {change.group(2)}, which is the module's, in place ({change.group(1)})"
        if (bound := _BOUND.match(line)) is not None and _origin(bound.group(2)) in own:
            own.add(bound.group(1))


def _origin(expression: str) -> str | None:
    """The name that `expression` is an attribute or a view of; None for what is computed anew."""
    attribute = _ATTRIBUTE.match(expression)
    view = _VIEW.match(expression)
    return attribute.group(1) if attribute else view.group(1) if view else None
