"""Files that others could change, that cannot be used, or that end: each is found, and said with what to do."""

from __future__ import annotations

import shutil
from collections import namedtuple
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.contract.manifest import MANIFEST_FILE
from service.runtime.key_file import add_key, rotate_key
from service.server.commands import file_checks
from tests.service.server.commands.test_doctor import found

CERTIFICATES = Path(__file__).resolve().parents[3] / "certificates"


def test_models_that_others_could_change(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = models / "forecaster" / "1"
    assert [finding.level for finding in found("models")] == ["advice"]  # there is no model of digits
    for path, mode in ((version, 0o777), (version / MANIFEST_FILE, 0o664), (version.parent, 0o777)):
        usual = path.stat().st_mode
        path.chmod(mode)
        assert "run code of theirs" in found("models")[0].text, path
        path.chmod(usual)
    version.parent.chmod(0o1777)  # nobody may replace what another one owns
    assert [finding.level for finding in found("models")] == ["advice"]


def test_trusted_keys_that_others_could_change(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cryptography", reason="the extra signing is not installed")
    path = tmp_path / "trusted.txt"
    path.write_text(f"ed25519 {'A' * 43}=\n")
    path.chmod(0o666)
    monkeypatch.setenv("RITMO_TRUSTED_KEYS", str(path))
    texts = [finding.text for finding in found("models")]
    assert "trust a key of their own" in texts[0]
    assert "is not signed" in texts[1]


def test_keys_that_end_soon_or_that_others_could_add(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.json"
    monkeypatch.setenv("RITMO_API_KEYS", str(path))
    path.write_text('{"version": 1, "keys": []}')
    assert "no valid key" in found("keys")[0].text
    _, entry = add_key(path, ["infer"], expires=datetime.now(UTC) + timedelta(days=3))
    assert f"ritmo keys rotate {entry.id}" in found("keys")[0].text
    _, successor = rotate_key(path, entry.id, timedelta(hours=1))
    assert [successor.id in finding.text for finding in found("keys")] == [True]
    path.chmod(0o666)
    assert "chmod go-w" in found("keys")[-1].text
    path.chmod(0o600)
    tmp_path.chmod(0o777)
    assert "chmod o-w" in found("keys")[-1].text
    tmp_path.chmod(0o700)


def test_a_file_that_is_mounted_by_itself(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "my keys.json"
    add_key(path, ["infer"])
    monkeypatch.setenv("RITMO_API_KEYS", str(path))
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr(file_checks, "_MOUNTS", mounts)
    for mounted, count in ((path, 1), (tmp_path, 0)):
        point = str(mounted).replace(" ", "\\040")
        mounts.write_text(f"36 35 98:0 / / rw - ext4 /dev/a rw\n37 36 98:0 /k {point} ro - ext4 /dev/a rw\n")
        assert sum("Mount its folder" in finding.text for finding in found("keys")) == count


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
        (tmp_path / "k.pem").chmod(0o600)
        assert [finding.text.partition(" ")[2][:11] for finding in found("TLS")] == ([text] if text else [])
    (tmp_path / "k.pem").chmod(0o604)
    assert "chmod o-r" in found("TLS")[0].text


def test_an_audit_log(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RITMO_AUDIT_LOG", str(tmp_path / "log"))
    assert found("audit log") == []
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda folder: usage(10, 9, 1))
        assert "rotate it" in found("audit log")[0].text
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert "cannot be written by this user" in found("audit log")[0].text
