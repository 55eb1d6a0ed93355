from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from service.settings import PREFIX, Settings, unknown_variables


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)


def test_defaults_are_safe() -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.device, settings.workers) == ("127.0.0.1", 8000, "auto", 1)
    assert settings.models == Path("models")


def test_flags_beat_environment_beats_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RITMO_PORT", "9001")
    monkeypatch.setenv("RITMO_MODELS", "/somewhere/else")
    assert Settings().port == 9001
    assert Settings(port=9002).port == 9002
    assert Settings().models == Path("/somewhere/else")


def test_settings_cannot_change_later() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "values",
    [
        {"port": 70000},
        {"device": "gpu"},
        {"device": "cuda:x"},
        {"workers": 0},
        {"threads": 0},
        {"threads": 65},
        {"timeout_ms": 0},
        {"log_level": "loud"},
        {"drain_seconds": -1},
        {"max_items": 5, "max_queue_items": 4},
        {"max_observations": 5, "max_queue_observations": 4},
        {"max_queue_seconds": 0},
        {"max_queue_seconds": math.inf},
        {"trusted_proxies": "proxy.example"},
        {"trusted_proxies": "10.0.0.1,"},
        {"trusted_proxies": "10.0.0.1/8"},
        {"state_keys": "fifteen bytes.."},
        {"state_keys": "sixteen bytes ok,short"},
        {"state_ttl_seconds": 0},
        {"host": ""},
        {"host": " "},
        {"models": ""},
        {"state_keys": ""},
        {"state_keys": SecretStr(" ,")},
        {"prot": 1},
    ],
)
def test_nonsense_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1"])
def test_devices(device: str) -> None:
    assert Settings(device=device).device == device


@pytest.mark.parametrize("name", Settings.model_fields)
def test_an_empty_variable_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`RITMO_HOST=` would listen on all addresses, `RITMO_STATE_KEYS=` would make a random key."""
    monkeypatch.setenv(PREFIX + name.upper(), "")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert [error["loc"] for error in caught.value.errors()] == [(name,)]


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    ("changes", "may"),
    [
        ({}, True),
        ({"host": "127.0.0.7"}, True),
        ({"host": "localhost"}, True),
        ({"host": "::1"}, True),
        ({"host": "0.0.0.0"}, False),
        ({"host": "0.0.0.0", "published_host": "127.0.0.1"}, False),  # others of the container's network reach it
        ({"published_host": "0.0.0.0", "authentication": "none"}, False),  # a proxy in front lets others in
        ({"host": "127.example.org"}, False),
        ({"host": "0.0.0.0", "api_keys": "keys.json"}, True),
        ({"model_management": "off"}, False),
        ({"model_updates": "none"}, False),
        ({"host": "0.0.0.0", "model_management": "on"}, True),
    ],
)
def test_who_may_change_what_is_served(changes: dict[str, Any], may: bool) -> None:
    assert Settings(**changes).models_may_be_managed is may


def test_misspelt_variables_are_named_with_the_nearest_setting() -> None:
    names = ["PATH", "RITMO_PROT", "RITMO_HOST", "RITMO_ZZZZZZZZ", "RITMO_DATA", "RITMO_REQUIRE_DATA"]
    assert unknown_variables(names) == {"RITMO_PROT": "RITMO_PORT", "RITMO_ZZZZZZZZ": None}


def test_keys_are_separated_by_commas_and_never_shown() -> None:
    settings = Settings(state_keys=SecretStr("sixteen bytes ok, another one that is longer,"))
    assert settings.secrets == (b"sixteen bytes ok", b"another one that is longer")
    assert Settings().secrets == ()
    with pytest.raises(ValidationError) as caught:
        Settings(state_keys=SecretStr("sixteen bytes ok,secret"))
    for text in (repr(settings), str(settings), settings.model_dump_json(), str(caught.value)):
        assert "sixteen" not in text
        assert "secret" not in text.replace("Secret", "").replace("state_keys", "")


def test_a_key_from_the_environment_is_not_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RITMO_STATE_KEYS", "xyzzy")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert "xyzzy" not in str(caught.value)


def test_traces_need_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.settings.find_spec", lambda name: None)
    with pytest.raises(ValidationError, match=r"pip install 'ritmo\[tracing\]'"):
        Settings(traces_endpoint="http://collector:4318/v1/traces")
    with pytest.raises(ValidationError, match="pattern"):
        Settings(traces_endpoint="collector:4318")


def test_a_typing_mistake_starts_no_thousands_of_processes() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 1024"):
        Settings(workers=20_000)


def test_the_two_ports_differ() -> None:
    with pytest.raises(ValidationError, match="management_port must be another port"):
        Settings(port=9000, management_port=9000)
    assert Settings(port=0, management_port=0).management_port == 0
