"""The place of state tokens: what `state` and `return_state` mean in a request.

This build issues none, so it says so wherever one is sent or asked for; sealing and opening them belongs here.
"""

from __future__ import annotations

from service.documents import Faults

_DETAIL = "this server issues no state tokens: send the whole series or digit"


def check(token: str | None, pointer: str, faults: Faults) -> None:
    """Note a fault when a request brings a token, which this server cannot have issued."""
    if token is not None:
        faults.add(pointer, "state_invalid", _DETAIL)


def check_wish(wanted: bool, faults: Faults) -> None:
    """Note a fault when a request asks for tokens."""
    if wanted:
        faults.add("#/parameters/return_state", "state_invalid", _DETAIL)
