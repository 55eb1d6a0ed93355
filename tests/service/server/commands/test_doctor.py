"""`ritmo doctor`: each thing that is wrong with an installation is found, and said with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.__main__ import main
from service.contract.manifest import MODEL_FILE
from service.server.commands.doctor import examine
from service.server.commands.findings import Finding
from service.settings import PREFIX


def found(subject: str) -> list[Finding]:
    return [finding for finding in examine() if finding.subject == subject and finding.level != "ok"]


def test_a_sound_installation_has_no_fault(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert "0 faults" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "subject", "advice"),
    [
        ({"host": "0.0.0.0"}, "keys", "RITMO_API_KEYS"),
        ({"prot": "1"}, "settings", "did you mean RITMO_PORT"),
        ({"port": "many"}, "settings", "RITMO_PORT"),
        ({"models": "/nowhere"}, "models", "RITMO_MODELS"),
        ({"workers": "1000"}, "memory", "RITMO_WORKERS"),
        ({"workers": "64", "threads": "8"}, "processors", "RITMO_THREADS"),
        ({"max_live_connections": "100000000"}, "open files", "ulimits.nofile"),
        ({"trusted_proxies": "0.0.0.0/0"}, "proxies", "name the proxy alone"),
        ({"trusted_keys": "/nowhere"}, "models", "cannot be read"),
        ({"api_keys": "/nowhere"}, "keys", "No such file"),
        ({"state_keys_file": "/nowhere"}, "state keys", "No such file"),
        ({"tls_certificate": "/nowhere", "tls_key": "/nowhere"}, "TLS", "cannot be used"),
        ({"host": "0.0.0.0", "authentication": "none"}, "TLS", "docs/proxies.md"),
        ({"host": "0.0.0.0", "authentication": "none"}, "keys", "everybody"),
        ({"host": "192.0.2.1", "authentication": "none"}, "ports", "no address of this machine"),
        ({"port": "54321", "management_port": "54321"}, "settings", "management_port must be another port"),
        ({"device": "cuda:7"}, "software", "install its CUDA build"),
        ({"max_table_bytes": str(1 << 60)}, "temporary", "RITMO_MAX_TABLE_BYTES"),
        ({"model_pins": "forecaster=7"}, "models", "no such version"),
        ({"default_models": "forecaster=shops"}, "models", "there is no model shops"),
        ({"audit_log": "/nowhere/log"}, "audit log", "is not there"),
    ],
)
def test_settings(
    models: Path, settings: dict[str, str], subject: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(PREFIX + name.upper(), value)
    assert advice in " ".join(finding.text for finding in found(subject))


def test_a_model_that_was_changed(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (models / "forecaster" / "1" / MODEL_FILE).write_bytes(b"another")
    assert main(["doctor"]) == 1
    assert "not what the manifest describes" in capsys.readouterr().out
