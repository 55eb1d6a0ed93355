"""The file of keys: what it holds, who may change it, and what is no file of keys."""

from __future__ import annotations

import json
import os
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from service.runtime.key_file import (
    MAX_KEYS,
    KeyDocument,
    KeyEntry,
    KeyFileError,
    KeyLimits,
    Rate,
    add_key,
    id_of,
    key_digest,
    parse_expiry,
    parse_rate,
    read_keys,
    read_secrets,
    revoke_key,
    rotate_key,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_a_key_is_shown_once_and_kept_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key, entry = add_key(path, ["infer"], "a shop", None, KeyLimits(requests="5/s", live_connections=2))
    assert key.startswith(f"ritmo_{entry.id}_")
    assert key.split("_", 2)[2] not in path.read_text()
    assert read_keys(path) == [entry]
    assert entry.sha256 == key_digest(key.encode()).hex()
    assert id_of(key.encode()) == entry.id.encode()
    assert (entry.note, entry.limits.requests, entry.valid_until) == ("a shop", "5/s", float("inf"))


def test_a_new_file_is_for_its_owner_and_keeps_the_mode_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    add_key(path, ["infer"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    add_key(path, ["infer"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [each.name for each in tmp_path.iterdir() if each.name != ".keys.json.lock"] == ["keys.json"]


def test_a_link_goes_on_naming_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    file, link = tmp_path / "secrets" / "keys.json", tmp_path / "keys.json"
    add_key(file, ["infer"])
    link.symlink_to(file)
    add_key(link, ["observe"])
    assert link.is_symlink()
    assert len(read_keys(file)) == 2
    assert [each.name for each in file.parent.iterdir()] == ["keys.json"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes the owner of a file")
def test_a_file_stays_its_owners_whoever_changes_it(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    add_key(path, ["infer"])
    os.chown(path, 10001, 10002)
    add_key(path, ["infer"])
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (10001, 10002, 0o600)


def test_a_key_without_an_end_in_sight_can_be_rotated(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    last = datetime(9999, 12, 31, 23, tzinfo=UTC)
    entry = add_key(path, ["infer"], expires=last)[1]
    made = replace(entry, created=entry.created - timedelta(days=400))  # as long again goes beyond the last year
    path.write_bytes(msgspec.json.encode(KeyDocument(1, [made])))
    assert rotate_key(path, entry.id, timedelta(hours=1))[1].valid_until > last.timestamp()


def test_commands_at_once_lose_no_key(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    threads = [threading.Thread(target=add_key, args=(path, ["infer"], str(number))) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(entry.note) for entry in read_keys(path)) == list(range(12))


def test_a_revoked_key_stays_in_the_file_and_is_not_revoked_again(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    entry = add_key(path, ["infer"])[1]
    revoked = revoke_key(path, entry.id)
    assert revoked.valid_until <= datetime.now(UTC).timestamp()
    assert revoke_key(path, entry.id) == revoked
    with pytest.raises(KeyFileError, match="no key with the id"):
        revoke_key(path, "ffffffffffff")


def test_a_rotated_key_is_valid_beside_its_successor_for_a_while(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    limits = KeyLimits(pictures="7/min")
    key, old = add_key(path, ["observe"], "n", datetime.now(UTC) + timedelta(days=90), limits)
    new_key, new = rotate_key(path, old.id, timedelta(hours=1))
    kept = next(entry for entry in read_keys(path) if entry.id == old.id)
    assert new_key != key
    assert (new.scopes, new.note, new.limits) == (old.scopes, old.note, limits)
    assert 3500 < kept.valid_until - datetime.now(UTC).timestamp() <= 3600
    assert new.valid_until > datetime.now(UTC).timestamp() + 89 * 86_400
    with pytest.raises(KeyFileError, match="has a successor since"):  # which would end with the overlap
        rotate_key(path, old.id, timedelta(hours=1))
    revoke_key(path, old.id)
    with pytest.raises(KeyFileError, match="not valid any more"):
        rotate_key(path, old.id, timedelta(hours=1))


@pytest.mark.parametrize("scopes", [[], ["infer", "root"], [""]])
def test_unknown_scopes_are_refused(tmp_path: Path, scopes: list[str]) -> None:
    with pytest.raises(KeyFileError, match="scopes are one or more of"):
        add_key(tmp_path / "keys.json", scopes)
    assert not (tmp_path / "keys.json").exists()


def test_a_key_that_would_have_expired_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="expired already"):
        add_key(tmp_path / "keys.json", ["infer"], expires=datetime(2001, 1, 1, tzinfo=UTC))


def entry(**changes: Any) -> dict[str, Any]:
    fields = {"id": "0123456789ab", "sha256": "ab" * 32, "scopes": ["infer"], "created": "2030-01-01T00:00:00Z"}
    return fields | changes


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        '{"version": 1, "keys": [',  # half written
        "[]",
        "null",
        '{"version": 2, "keys": []}',
        '{"version": 1, "keys": [], "more": 1}',
        json.dumps({"version": 1, "keys": [entry(id="x")]}),
        json.dumps({"version": 1, "keys": [entry(sha256="short")]}),
        json.dumps({"version": 1, "keys": [entry(scopes=["root"])]}),
        json.dumps({"version": 1, "keys": [entry(scopes=[])]}),
        json.dumps({"version": 1, "keys": [entry(), entry()]}),
        json.dumps({"version": 1, "keys": [entry(created="2030-01-01T00:00:00")]}),
        json.dumps({"version": 1, "keys": [entry(expires="soon")]}),
        json.dumps({"version": 1, "keys": [entry(limits={"requests": "many"})]}),
        json.dumps({"version": 1, "keys": [entry(limits={"live_connections": -1})]}),
        json.dumps({"version": 1, "keys": [entry(limits={"request": "1/s"})]}),
        json.dumps({"version": 1, "keys": [entry(id=f"{number:012x}") for number in range(MAX_KEYS + 1)]}),
        "[" * 100_000,
    ],
)
def test_what_is_no_file_of_keys_is_refused_with_a_reason(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content)
    with pytest.raises(KeyFileError):
        read_keys(path)


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        read_keys(tmp_path / "none.json")
    with pytest.raises(KeyFileError, match="cannot be read"):
        read_keys(tmp_path)
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(KeyFileError, match="no regular file"):
        read_keys(tmp_path / "pipe.json")
    path = tmp_path / "large.json"
    path.write_bytes(b" " * (5 << 20))
    with pytest.raises(KeyFileError, match="larger than"):
        read_keys(path)


@pytest.mark.parametrize(
    ("text", "rate"),
    [("100/s", Rate(100, 1)), (" 6000 / min", Rate(6000, 60)), ("1/h", Rate(1, 3600)), ("5/d", Rate(5, 86_400))],
)
def test_rates(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0/s", "-1/s", "1.5/s", "100", "1/y", "1/s/s", "99999999999/s", "9999999999/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(KeyFileError):
        parse_rate(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90d", NOW + timedelta(days=90)),
        ("12 h", NOW + timedelta(hours=12)),
        ("2031-02-03", datetime(2031, 2, 3, tzinfo=UTC)),
        ("2031-02-03T04:05:06+02:00", datetime(2031, 2, 3, 2, 5, 6, tzinfo=UTC)),
    ],
)
def test_ends(text: str, moment: datetime) -> None:
    assert parse_expiry(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "soon", "0d", "-1d", "2031-13-01"])
def test_what_is_no_end_is_refused(text: str) -> None:
    with pytest.raises(KeyFileError):
        parse_expiry(text, NOW)


@pytest.mark.parametrize("key", [b"", b"x", b"ritmo_", b"ritmo_12", b"other_12_34", b"a_b_c_d"])
def test_what_has_not_the_form_of_a_key_has_no_id(key: bytes) -> None:
    assert id_of(key) is None


def test_a_revoked_key_is_not_valid_by_any_clock() -> None:
    entry = KeyEntry("0123456789ab", "ab" * 32, ["infer"], NOW, expires=NOW + timedelta(1))
    assert entry.valid_until == NOW.timestamp() + 86_400
    assert replace(entry, revoked=NOW).valid_until == 0.0


def test_secrets_are_lines(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("# first signs\nsixteen bytes ok!\n\n  another one of them \n")
    assert read_secrets(path, 16) == [b"sixteen bytes ok!", b"another one of them"]


@pytest.mark.parametrize("content", ["", "# none\n", "short\n", "sixteen bytes ok!\nhalf writ", "sixteen bytes ok!"])
def test_half_a_file_of_secrets_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "state"
    path.write_text(content)
    with pytest.raises(KeyFileError):
        read_secrets(path, 16)
    with pytest.raises(KeyFileError):
        read_secrets(tmp_path / "none", 16)
