"""Open to this machine alone, to others with keys, and to everybody only where that is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.server.exposure import is_local, refusal, with_hosts
from service.settings import Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_this_machine(host: str) -> None:
    assert is_local(host)
    assert refusal(Settings(host=host)) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1", "name.invalid"])
def test_other_machines(host: str) -> None:
    assert not is_local(host)
    reason = refusal(Settings(host=host))
    assert reason is not None
    for way_out in ("ritmo keys add", "RITMO_API_KEYS", "RITMO_AUTHENTICATION=none", "127.0.0.1", host):
        assert way_out in reason


@pytest.mark.parametrize(
    "changes",
    [
        {"api_keys": Path("keys.json")},
        {"authentication": "none"},
        {"published_host": "127.0.0.1"},
    ],
)
def test_what_lets_it_start(changes: dict[str, Any]) -> None:
    assert refusal(Settings(host="0.0.0.0", **changes)) is None


def test_a_port_that_is_forwarded_counts_as_what_it_is() -> None:
    assert refusal(Settings(host="127.0.0.1", published_host="0.0.0.0")) is not None


def test_names_that_are_answered_by_default() -> None:
    assert with_hosts(Settings()).hosts == ("local",)
    assert with_hosts(Settings(host="0.0.0.0", published_host="127.0.0.1")).hosts == ("local",)
    assert with_hosts(Settings(host="0.0.0.0")).hosts == ()
    assert with_hosts(Settings(allowed_hosts="*")).hosts == ()
    assert with_hosts(Settings(allowed_hosts="a.example")).hosts == ("a.example",)
