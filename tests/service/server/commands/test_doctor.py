"""`ritmo doctor`: each thing that is wrong with an installation is found, and said with what to do."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections import namedtuple
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.__main__ import main
from service.contract.manifest import MODEL_FILE
from service.runtime.key_file import add_key
from service.server.commands import doctor
from service.server.commands.doctor import Finding, examine
from service.settings import PREFIX, Settings
from tests.models import LastValue, write_model

CERTIFICATES = Path(__file__).resolve().parents[3] / "certificates"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models"
    write_model(folder, "forecaster", LastValue())
    monkeypatch.setenv("RITMO_MODELS", str(folder))
    monkeypatch.setenv("RITMO_PORT", "0")
    return folder


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


def test_a_port_that_is_taken(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("RITMO_PORT", str(taken.getsockname()[1]))
        assert "cannot listen" in found("ports")[0].text


def test_keys_that_end_soon_or_that_others_could_add(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.json"
    monkeypatch.setenv("RITMO_API_KEYS", str(path))
    path.write_text('{"version": 1, "keys": []}')
    assert "no valid key" in found("keys")[0].text
    add_key(path, ["infer"], expires=datetime.now(UTC) + timedelta(days=3))
    assert "ritmo keys rotate" in found("keys")[0].text
    path.chmod(0o666)
    assert "chmod go-w" in found("keys")[-1].text


def test_keys_of_tokens_that_others_can_read(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    path.write_text("sixteen bytes ok!\n")
    path.chmod(0o644)
    monkeypatch.setenv("RITMO_STATE_KEYS_FILE", str(path))
    assert "chmod go-r" in found("state keys")[0].text
    path.chmod(0o600)
    assert found("state keys") == []


def test_certificates(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RITMO_TLS_CERTIFICATE", str(tmp_path / "c.pem"))
    monkeypatch.setenv("RITMO_TLS_KEY", str(tmp_path / "k.pem"))
    for name, text in (("expired", "has expired"), ("first", None)):
        shutil.copy(CERTIFICATES / f"{name}.pem", tmp_path / "c.pem")
        shutil.copy(CERTIFICATES / f"{name}-key.pem", tmp_path / "k.pem")
        assert [finding.text.partition(" ")[2][:11] for finding in found("TLS")] == ([text] if text else [])


def test_the_clock(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = time.time() + 10 * 86_400
    file = Path(doctor.__file__)
    real = Path.stat

    def stat(path: Path, **options: Any) -> os.stat_result:
        result = real(path, **options)
        return result if path != file else os.stat_result([*result[:8], int(old), *result[9:]])

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", stat)
        assert "set it" in found("clock")[0].text
    monkeypatch.setattr(doctor, "_is_unsynchronised", lambda: True)
    assert "NTP" in found("clock")[0].text


def test_processors_and_limits(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_CGROUP", tmp_path)
    monkeypatch.setattr(doctor, "_cpu_flags", lambda: {"sse2"})
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    (tmp_path / "cpu.stat").write_text("usage_usec 5\nnr_throttled 7\n")
    (tmp_path / "memory.max").write_text("100000000\n")
    texts = " ".join(finding.text for finding in found("processors"))
    assert "AVX2" in texts
    assert "held this container up 7 times" in texts
    assert found("memory")[0].level == "fault"
    (tmp_path / "memory.max").write_text("max\n")
    assert found("memory") == []


def test_room_for_temporary_files(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(10, 9, 1))
    assert "0 MiB left" in found("temporary")[0].text


def test_who_runs_it(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert "root" in found("user")[0].text
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "read-only" in found("user")[0].text
