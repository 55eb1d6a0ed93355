"""`ritmo model sign` and `verify`, and a service that trusts only what is signed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from service.__main__ import main
from service.backend.model import load
from service.contract.errors import BrokenModel
from service.contract.manifest import MODEL_FILE
from service.contract.model_signatures import TrustedKeys
from tests.models import LastValue, write_model


def needs_cryptography() -> None:
    pytest.importorskip("cryptography", reason="the extra signing is not installed")


def test_a_key_that_cannot_be_made_leaves_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("cryptography", "cryptography.hazmat.primitives.asymmetric.ed25519"):
        monkeypatch.setitem(sys.modules, module, None)
    write_model(tmp_path / "models", "forecaster", LastValue())
    key = tmp_path / "key.pem"
    assert main(["model", "sign", str(tmp_path / "models" / "forecaster" / "1"), "--key", str(key)]) == 2
    assert "pip install 'ritmo[signing]'" in capsys.readouterr().err
    assert not key.exists()


def test_a_version_is_signed_verified_and_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_cryptography()
    write_model(tmp_path / "models", "forecaster", LastValue())
    folder = tmp_path / "models" / "forecaster" / "1"
    assert main(["model", "sign", str(folder), "--key", str(tmp_path / "key.pem")]) == 0
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    trusted = tmp_path / "trusted"
    trusted.write_text(capsys.readouterr().out)
    monkeypatch.setenv("RITMO_TRUSTED_KEYS", str(trusted))
    assert main(["model", "verify", str(folder)]) == 0
    keys = TrustedKeys.read(trusted)
    assert load(folder, warm=False, trusted=keys).manifest.name == "forecaster"
    (folder / MODEL_FILE).write_bytes(b"another")
    assert main(["model", "verify", str(folder)]) == 1
    (folder / "manifest.sig").unlink()
    with pytest.raises(BrokenModel, match="not signed"):
        load(folder, warm=False, trusted=keys)


def test_what_cannot_be_done_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needs_cryptography()
    assert main(["model"]) == 2
    assert main(["model", "sign", str(tmp_path), "--key", str(tmp_path / "key.pem")]) == 2
    assert main(["model", "verify", str(tmp_path), "--trusted", str(tmp_path / "none")]) == 2
    assert "does not exist" in capsys.readouterr().err
    write_model(tmp_path, "forecaster", LastValue())
    key = tmp_path / "bad.pem"
    key.write_text("no key")
    folder = tmp_path / "forecaster" / "1"
    assert main(["model", "sign", str(folder), "--key", str(key)]) == 2
    assert f"{key}: this is no private key" in capsys.readouterr().err
    assert not (folder / "manifest.sig").exists()
