"""What a check of an installation finds (`ritmo doctor`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from service.settings import Settings

MIB = 1 << 20


class Finding(NamedTuple):
    """What a check found."""

    level: Literal["ok", "advice", "fault"]
    subject: str
    text: str


Check = Callable[[Settings], Iterator[Finding]]
