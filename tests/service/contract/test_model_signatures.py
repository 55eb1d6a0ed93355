"""Whose work a model is: nothing unsigned passes where keys are trusted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from service.contract import model_signatures
from service.contract.errors import BrokenModel
from service.contract.manifest import MANIFEST_FILE, read_manifest
from service.contract.model_signatures import SIGNATURE_FILE, TrustedKeys, key_id, new_private_key, public_line, sign
from tests.fakes import manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    manifest("forecaster").write(tmp_path)
    return tmp_path


def test_without_the_library_trusted_keys_are_refused_and_not_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    path = tmp_path / "trusted"
    path.write_text("ed25519 " + "A" * 43 + "= somebody\n")
    with pytest.raises(ValueError, match="pip install"):
        TrustedKeys.read(path)
    with pytest.raises(ValueError, match="pip install"):
        new_private_key()


@pytest.mark.parametrize(
    "line", ["", "# none", "rsa AAAA", "ed25519", "ed25519 AAAA", "ed25519 !", "ed25519 " + "A" * 44]
)
def test_a_file_without_a_key_or_with_something_else_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "trusted"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=r"no trusted key|line 1"):
        TrustedKeys.read(path)
    with pytest.raises(ValueError, match="cannot be read"):
        TrustedKeys.read(tmp_path / "none")


class TestSigned:
    """With the library."""

    @pytest.fixture(autouse=True)
    def _library(self) -> None:
        pytest.importorskip("cryptography", reason="the extra signing is not installed")

    @staticmethod
    def trusted(folder: Path, *keys: bytes) -> TrustedKeys:
        path = folder / "trusted"
        path.write_text("# those we know\n\n" + "".join(public_line(key, "somebody") + "\n" for key in keys))
        return TrustedKeys.read(path)

    def test_a_signed_manifest_is_read(self, folder: Path) -> None:
        key = new_private_key()
        name = sign(folder, (folder / MANIFEST_FILE).read_bytes(), key)
        keys = self.trusted(folder, key)
        assert keys.check(folder, (folder / MANIFEST_FILE).read_bytes()) == name
        assert read_manifest(folder, keys).name == "forecaster"

    def test_an_unsigned_or_changed_one_is_not(self, folder: Path) -> None:
        key, path = new_private_key(), folder / MANIFEST_FILE
        keys = self.trusted(folder, key)
        with pytest.raises(BrokenModel, match="is not signed"):
            read_manifest(folder, keys)
        sign(folder, path.read_bytes(), key)
        path.write_text(path.read_text().replace("ab" * 32, "ba" * 32))  # another model.pt
        with pytest.raises(BrokenModel, match="no signature of the manifest"):
            read_manifest(folder, keys)
        assert read_manifest(folder).name == "forecaster"

    def test_only_trusted_keys_count(self, folder: Path) -> None:
        ours, theirs = new_private_key(), new_private_key()
        data = (folder / MANIFEST_FILE).read_bytes()
        sign(folder, data, theirs)
        with pytest.raises(BrokenModel, match="no signature of a key that is trusted"):
            read_manifest(folder, self.trusted(folder, ours))
        sign(folder, data, ours)
        assert read_manifest(folder, self.trusted(folder, ours)) is not None
        assert read_manifest(folder, self.trusted(folder, theirs)) is not None
        sign(folder, data, ours)
        assert len((folder / SIGNATURE_FILE).read_text().splitlines()) == 2

    @pytest.mark.parametrize(
        "content", ["", "\xff", "ed25519 {id} AAAA\n", "ed25519 {id} " + "A" * 86 + "==\n", "x" * 70_000]
    )
    def test_what_is_no_signature_is_refused(self, folder: Path, content: str) -> None:
        key = new_private_key()
        keys = self.trusted(folder, key)
        public = model_signatures._public_bytes(model_signatures._private(key))
        (folder / SIGNATURE_FILE).write_text(content.format(id=key_id(public)), encoding="latin-1")
        with pytest.raises(BrokenModel):
            read_manifest(folder, keys)

    def test_other_kinds_of_keys_are_refused(self, folder: Path) -> None:
        certificate_key = Path(__file__).resolve().parents[2] / "certificates" / "first-key.pem"
        for pem in (
            b"",
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            certificate_key.read_bytes(),
        ):
            with pytest.raises(ValueError, match="no private key"):
                public_line(pem)
