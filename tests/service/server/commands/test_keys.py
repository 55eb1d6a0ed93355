"""`ritmo keys`, as an operator types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.__main__ import main
from service.runtime.key_file import read_keys, read_secrets


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RITMO_API_KEYS", str(tmp_path / "keys.json"))
    monkeypatch.setenv("RITMO_STATE_KEYS_FILE", str(tmp_path / "state-keys"))
    return tmp_path / "keys.json"


def keys(*arguments: str) -> int:
    return main(["keys", *arguments])


def test_a_key_from_its_beginning_to_its_end(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert keys("add", "--scopes", "infer, observe", "--note", "a shop", "--expires", "90d", "--requests", "5/s") == 0
    shown = capsys.readouterr()
    key = shown.out.strip()
    assert key.startswith("ritmo_")
    assert key not in shown.err
    [entry] = read_keys(path)
    assert keys("list") == 0
    listed = capsys.readouterr().out
    assert key not in listed
    for text in (entry.id, "valid", "infer,observe", "requests 5/s", "a shop"):
        assert text in listed
    assert keys("rotate", entry.id, "--overlap", "0") == 0
    new = capsys.readouterr().out.strip()
    assert new.startswith("ritmo_")
    assert keys("list") == 0
    assert "expired" in capsys.readouterr().out
    assert keys("revoke", new.split("_")[1]) == 0
    assert keys("list") == 0
    assert "revoked" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "--scopes", "everything"], "scopes are one or more of"),
        (["add", "--requests", "many"], "is no rate"),
        (["add", "--expires", "soon"], "is no time"),
        (["revoke", "0123456789ab"], "no key with the id"),
        (["rotate", "0123456789ab"], "no key with the id"),
        (["list"], "No such file"),
        (["add", "--file", "/nowhere/keys.json"], "cannot be changed"),
        (["add", "--live-connections", "-1"], "greater than or equal"),
        ([], "ritmo keys: choose add, list"),
    ],
)
def test_what_cannot_be_done_is_said(
    path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert keys(*arguments) == 2
    assert message in capsys.readouterr().err
    assert not path.exists()


def test_without_a_file_the_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RITMO_API_KEYS", raising=False)
    assert keys("list") == 2
    assert "RITMO_API_KEYS" in capsys.readouterr().err


def test_a_broken_file_is_left_alone(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text("{")
    assert keys("add") == 2
    assert path.read_text() == "{"


def test_comments_of_a_file_of_state_keys_count_as_no_key(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = path.parent / "state"
    old = b"an old secret of more than thirty-two bytes"
    state.write_bytes(b"# ours\n  # indented\n" + old + b"\n")
    assert main(["keys", "state", "--file", str(state), "--keep", "1"]) == 0
    new, kept = state.read_bytes().splitlines()
    assert kept == old != new
    assert main(["keys", "state", "--file", str(state), "--keep", "0"]) == 0
    assert "has 1 key, the first of which signs" in capsys.readouterr().out


def test_keys_of_state_tokens_are_rotated(path: Path) -> None:
    state = path.with_name("state-keys")
    assert keys("state") == 0
    [first] = read_secrets(state, 16)
    assert keys("state") == 0
    second, kept = read_secrets(state, 16)
    assert kept == first
    assert keys("state", "--add-only") == 0
    assert read_secrets(state, 16)[0] == second
    assert len(read_secrets(state, 16)) == 3
    assert keys("state", "--keep", "0") == 0
    assert len(read_secrets(state, 16)) == 1
