"""Keys as a process knows them: recognised, limited, revoked, and read again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.api.accounts import Account, KeyRing
from service.contract.errors import AccessDenied, InvalidRequest, RateLimited
from service.runtime.key_file import KeyFileError, KeyLimits, add_key, revoke_key, rotate_key

Headers = list[tuple[bytes, bytes]]


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC).timestamp()

    def __call__(self) -> float:
        return self.now


def ring(path: Path, **changes: Any) -> KeyRing:
    keys = KeyRing(path, **changes)
    keys.load()
    return keys


def bearer(key: str) -> Headers:
    return [(b"host", b"x"), (b"authorization", b"Bearer " + key.encode())]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def account(path: Path, **limits: Any) -> Account:
    key, _ = add_key(path, ["infer"], limits=KeyLimits(**limits))
    return ring(path).authenticate(bearer(key))


def test_a_key_is_recognised_in_either_header(path: Path) -> None:
    key, entry = add_key(path, ["infer"])
    keys = ring(path)
    assert keys.authenticate(bearer(key)).id == entry.id
    assert keys.authenticate([(b"authorization", b"bearer  " + key.encode() + b" ")]).id == entry.id
    assert keys.authenticate([(b"x-api-key", key.encode())]).id == entry.id
    offers = b"ritmo, ritmo.key." + key.encode()
    assert keys.authenticate([(b"sec-websocket-protocol", offers)], live=True).id == entry.id


@pytest.mark.parametrize("place", ["missing", "doubled", "both", "basic", "empty", "long", "binary", "offered twice"])
def test_what_is_not_one_key_in_one_place_is_refused(path: Path, place: str) -> None:
    key = add_key(path, ["infer"])[0].encode()
    token = (b"authorization", b"Bearer " + key)
    headers: dict[str, Headers] = {
        "missing": [(b"host", b"x")],
        "doubled": [token, token],
        "both": [token, (b"x-api-key", key)],
        "basic": [(b"authorization", b"Basic " + key)],
        "empty": [(b"x-api-key", b"")],
        "long": [(b"x-api-key", key + b"x" * 10_000)],
        "binary": [(b"x-api-key", b"ritmo_\xff\x00_\x80")],
        "offered twice": [(b"sec-websocket-protocol", b"ritmo.key." + key + b",ritmo.key." + key)],
    }
    with pytest.raises(AccessDenied) as caught:
        ring(path).authenticate(headers[place], live=True)
    assert caught.value.code == "unauthenticated"
    assert key.decode() not in caught.value.detail


def test_a_subprotocol_is_no_credential_of_a_request(path: Path) -> None:
    key = add_key(path, ["infer"])[0].encode()
    with pytest.raises(AccessDenied):
        ring(path).authenticate([(b"sec-websocket-protocol", b"ritmo.key." + key)])


def test_a_wrong_key_is_refused_whatever_is_wrong_with_it(path: Path) -> None:
    key, entry = add_key(path, ["infer"])
    other, _ = add_key(path.with_name("others.json"), ["infer"])
    keys = ring(path)
    for wrong in (other, key[:-1], key + "x", key.swapcase(), f"ritmo_{entry.id}_", f"ritmo_{entry.id}_x", "ritmo__"):
        with pytest.raises(AccessDenied):
            keys.authenticate(bearer(wrong))


def test_an_expired_or_revoked_key_is_refused(path: Path) -> None:
    key, _ = add_key(path, ["infer"], expires=datetime.now(UTC) + timedelta(hours=1))
    clock = Clock()
    keys = ring(path, clock=clock)
    assert keys.authenticate(bearer(key)).is_valid
    clock.now += 3601
    with pytest.raises(AccessDenied, match="expired"):
        keys.authenticate(bearer(key))
    clock.now -= 3601  # the clock was set back: by the system's time, the key is valid again
    assert keys.authenticate(bearer(key)).is_valid


def test_a_jump_of_the_clock_gives_no_one_more_than_its_rate(path: Path) -> None:
    key, _ = add_key(path, ["infer"], limits=KeyLimits(requests="2/h"))
    clock = Clock()
    keys = ring(path, clock=clock)
    account = keys.authenticate(bearer(key))
    account.charge_request()
    account.charge_request()
    for jump in (1e7, -1e7):
        clock.now += jump
        with pytest.raises(RateLimited):
            account.charge_request()


def test_a_change_of_the_file_reaches_accounts_that_are_in_use(path: Path) -> None:
    key, entry = add_key(path, ["infer"], limits=KeyLimits(requests="1/h"))
    keys = ring(path)
    account = keys.authenticate(bearer(key))
    account.charge_request()
    new_key, _ = rotate_key(path, entry.id, timedelta(hours=1))
    keys.load()
    assert keys.authenticate(bearer(key)) is account  # and what it used goes on counting
    with pytest.raises(RateLimited):
        account.charge_request()
    assert keys.authenticate(bearer(new_key)).is_valid
    revoke_key(path, entry.id)
    keys.load()
    assert not account.is_valid
    path.write_text('{"version": 1, "keys": []}')
    successor = keys.authenticate(bearer(new_key))
    keys.load()
    assert not successor.is_valid


def test_a_broken_file_changes_nothing(path: Path) -> None:
    key, _ = add_key(path, ["infer"])
    keys = ring(path)
    good = path.read_bytes()
    for broken in (good[: len(good) // 2], b"", b"{}"):
        path.write_bytes(broken)
        with pytest.raises(KeyFileError):
            keys.load()
        assert keys.authenticate(bearer(key)).is_valid


def test_a_process_that_starts_while_the_file_is_broken_takes_the_copy_of_the_others(path: Path) -> None:
    key, _ = add_key(path, ["infer"])
    copy = path.with_name("copy.json")
    ring(path, last_good=copy)
    path.write_text("{")
    assert ring(path, last_good=copy).authenticate(bearer(key)).is_valid
    with pytest.raises(KeyFileError):
        ring(path, last_good=path.with_name("none.json"))


def test_scopes(path: Path) -> None:
    infer = account(path)
    assert infer.may(frozenset(("infer", "observe")))
    assert not infer.may(frozenset(("admin",)))
    key, _ = add_key(path, ["admin"])
    assert ring(path).authenticate(bearer(key)).may(frozenset(("observe",)))


def test_work_is_charged_in_values_and_in_pictures(path: Path) -> None:
    limited = account(path, observations="100/h", pictures="3/h")
    limited.charge("forecast", 7, 60)
    limited.charge("classify-digit", 2, 56)
    limited.charge("forecast", 1, 0)
    with pytest.raises(RateLimited) as caught:
        limited.charge("forecast", 1, 41)
    assert caught.value.retry_after == pytest.approx(36, abs=1)
    with pytest.raises(RateLimited):
        limited.charge("classify-digit", 2, 1)
    with pytest.raises(InvalidRequest) as too_much:
        limited.charge("forecast", 1, 101)
    assert too_much.value.code == "too_many_items"
    account(path).charge("forecast", 1, 10**9)


def test_the_headers_say_what_is_left(path: Path) -> None:
    limited = account(path, requests="60/min", pictures="10/h")
    limited.charge_request()
    limited.charge("classify-digit", 4, 0)
    assert dict(limited.headers()) == {
        b"ratelimit-policy": b'"requests";q=60;w=60, "pictures";q=10;w=3600',
        b"ratelimit": b'"requests";r=59;t=1, "pictures";r=6;t=1440',
    }
    assert account(path).headers() == []


def test_live_connections_are_counted(path: Path) -> None:
    limited = account(path, live_connections=1)
    limited.connect()
    with pytest.raises(RateLimited):
        limited.connect()
    limited.disconnect()
    limited.connect()
