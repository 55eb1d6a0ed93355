"""Certificates: tried before they are used, read again when they change, the last good one kept."""

from __future__ import annotations

import os
import shutil
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from service.server.tls import Certificate, CertificateError, expiry, handshake, new_context

FILES = Path(__file__).resolve().parents[2] / "certificates"


def put(folder: Path, name: str, key: str | None = None) -> tuple[Path, Path]:
    """Put a certificate of that name, with its key or another one, in the place of the folder's."""
    certificate, private = folder / "tls.pem", folder / "tls-key.pem"
    for source, place in ((f"{name}.pem", certificate), (f"{key or name}-key.pem", private)):
        shutil.copy(FILES / source, folder / "next")
        (folder / "next").replace(place)
    return certificate, private


def common_name(certificate: Certificate, *names: str) -> str:
    """Whose certificate a client is shown that trusts `names`, and asks for no name."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    for name in names or ("first", "second"):
        client.load_verify_locations(FILES / f"{name}.pem")
    shown = handshake(client, certificate.context).getpeercert()
    subject: Any = (shown or {})["subject"]
    return str(dict(part[0] for part in subject)["commonName"])


def test_a_new_certificate_serves_new_connections(tmp_path: Path) -> None:
    certificate = Certificate(*put(tmp_path, "first"))
    assert common_name(certificate) == "first.example"
    assert certificate.expires > time.time() + 50 * 365 * 86_400
    put(tmp_path, "second")
    certificate.check()
    assert common_name(certificate) == "second.example"


@pytest.mark.parametrize(("name", "key"), [("second", "first"), ("expired", "expired")])
def test_one_that_cannot_be_used_leaves_the_last_good_one(
    tmp_path: Path, name: str, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = Certificate(*put(tmp_path, "first"))
    put(tmp_path, name, key)
    certificate.check()
    assert common_name(certificate) == "first.example"
    assert "the last good state stays in use" in caplog.text
    put(tmp_path, "second")
    certificate.check()
    assert common_name(certificate) == "second.example"


def test_half_a_file_leaves_the_last_good_one(tmp_path: Path) -> None:
    files = put(tmp_path, "first")
    certificate = Certificate(*files)
    for file in files:
        good = file.read_bytes()
        file.write_bytes(good[:100])
        certificate.check()
        assert common_name(certificate) == "first.example"
        file.write_bytes(good)
    certificate.check()
    assert certificate.watched.fault is None


def test_an_expired_certificate_is_served_and_logged_as_such(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A clock that is wrong at the start, or a certificate that nobody renewed: clients decide."""
    certificate = Certificate(*put(tmp_path, "expired"))
    assert certificate.expires == 0.0
    for _ in range(3):
        certificate.check()
    assert caplog.text.count("has expired") == 1


def test_an_end_that_comes_near_is_logged_once_a_day(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = Certificate(*put(tmp_path, "first"))
    certificate.check()
    assert caplog.text == ""
    monkeypatch.setattr(time, "time", lambda: certificate.expires - 3 * 86_400)
    certificate.check()
    certificate.check()
    assert caplog.text.count("expires in 3.0 days") == 1
    now = certificate.expires - 60
    monkeypatch.setattr(time, "time", lambda: now)
    certificate.check()
    assert caplog.text.count("expires in 0.0 days") == 1
    now += 60  # its end is logged when it comes
    for _ in range(3):
        certificate.check()
        now += 5
    assert caplog.text.count("has expired") == 1


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        ("missing", "No such file"),
        ("empty", "not in PEM"),
        ("other key", "the key is not that of the certificate"),
        ("directory", "cannot be used"),
        ("pipe", "cannot be used"),
        ("password", "a key with a password"),
    ],
)
def test_at_the_start_they_must_be_usable(tmp_path: Path, problem: str, words: str) -> None:
    certificate, key = put(tmp_path, "first", "second" if problem == "other key" else None)
    if problem == "missing":
        key.unlink()
    elif problem == "empty":
        certificate.write_text("")
    elif problem == "directory":
        key = tmp_path
    elif problem == "pipe":
        key.unlink()
        os.mkfifo(key)
    elif problem == "password":
        key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n")
    with pytest.raises(CertificateError, match=f"cannot be used.*{words}|{words}"):
        Certificate(certificate, key)


def test_old_versions_of_the_protocol_and_http_2_are_not_offered() -> None:
    context = new_context(FILES / "first.pem", FILES / "first-key.pem")
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    client = ssl.create_default_context(cafile=FILES / "first.pem")
    client.set_alpn_protocols(["h2", "http/1.1"])
    assert handshake(client, context, "localhost").selected_alpn_protocol() == "http/1.1"


def test_the_expiry_of_a_certificate() -> None:
    context = new_context(FILES / "expired.pem", FILES / "expired-key.pem")
    assert expiry(FILES / "expired.pem", context) == 0.0
    with pytest.raises(CertificateError):
        expiry(FILES / "first.pem", context)


def test_files_that_change_with_the_same_size_are_noticed(tmp_path: Path) -> None:
    certificate = Certificate(*put(tmp_path, "first"))
    for file, name in ((tmp_path / "tls.pem", "second.pem"), (tmp_path / "tls-key.pem", "second-key.pem")):
        file.write_bytes((FILES / name).read_bytes())
        os.utime(file, (1, 1))
    certificate.check()
    assert common_name(certificate) == "second.example"
