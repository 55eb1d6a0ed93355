"""API keys on disk: a JSON file that holds no key, only what recognises one, and what each key may do.

A key is `ritmo_<id>_<secret>`. The id is public: it names the key in the file, in logs and on the command line. The
secret has 256 random bits, so its SHA-256 is all that is kept, and no slow hash is needed: there is nothing to guess.

The file is replaced as a whole (written next to it, then renamed), so that a reader sees the old one or the new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from service.runtime.watched_file import UnusableFile, read_watched

PREFIX = "ritmo"
SCOPES = ("infer", "observe", "admin")
RESOURCES = ("requests", "observations", "pictures")
MAX_FILE_BYTES = 4 << 20
MAX_KEYS = 1024
MAX_LIMIT = 1_000_000_000
_ID_BYTES, _SECRET_BYTES = 6, 32
_ID = re.compile(r"[0-9a-f]{12}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_RATE = re.compile(r"([1-9][0-9]{0,9})\s*/\s*(s|min|h|d)")
_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_PERIOD = re.compile(r"([1-9][0-9]{0,5})\s*(s|min|h|d)")


class KeyFileError(UnusableFile):
    """A file of keys cannot be read or used as it is; the text says why."""


class Rate(NamedTuple):
    """So many in `seconds`; as many may come at once."""

    amount: int
    seconds: float


class KeyLimits(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a key may use: rates such as `100/s`, and connections at a time; None: no limit of its own."""

    requests: str | None = None
    observations: str | None = None
    pictures: str | None = None
    live_connections: int | None = None


class KeyEntry(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One key; times are UTC."""

    id: str
    sha256: str  # of the key
    scopes: list[str]
    created: datetime
    note: str = ""
    expires: datetime | None = None
    revoked: datetime | None = None
    limits: KeyLimits = KeyLimits()
    rotated: datetime | None = None  # when a successor was made; then `expires` is the end of the overlap

    @property
    def valid_until(self) -> float:
        """Seconds since 1970 after which the key is not valid, infinity for ever.

        A revoked key is never valid, also where a clock is set back, or behind that of the machine that revoked it.
        """
        if self.revoked is not None:
            return 0.0
        return self.expires.timestamp() if self.expires is not None else float("inf")


class KeyDocument(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    version: int
    keys: list[KeyEntry]


_decoder = msgspec.json.Decoder(KeyDocument)


def parse_rate(text: str) -> Rate:
    """`100/s`, `6000/min`, `1000000/h`, `5/d`; raises `KeyFileError`."""
    match = _RATE.fullmatch(text.strip())
    if match is None or int(match[1]) > MAX_LIMIT:
        raise KeyFileError(f"'{text}' is no rate such as 100/s, 6000/min, 100000/h or 5000000/d")
    return Rate(int(match[1]), _UNITS[match[2]])


def parse_expiry(text: str, time_now: datetime) -> datetime:
    """`90d`, `12h`, or a date in ISO 8601 (UTC where it names no zone); raises `KeyFileError`."""
    match = _PERIOD.fullmatch(text.strip())
    if match is not None:
        return time_now + timedelta(seconds=int(match[1]) * _UNITS[match[2]])
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise KeyFileError(f"'{text}' is no time such as 90d, 12h or 2030-01-31") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def key_digest(key: bytes) -> bytes:
    """What the file keeps of a key."""
    return hashlib.sha256(key).digest()


def id_of(key: bytes) -> bytes | None:
    """The id within a key, None where it has not the form of one."""
    parts = key.split(b"_", 2)
    return parts[1] if len(parts) == 3 and parts[0] == PREFIX.encode() else None


def read_keys(path: Path) -> list[KeyEntry]:
    """The keys in the file at `path`; raises `KeyFileError` where any of it is not as it should be."""
    return parse_keys(_content(path), str(path))


def _content(path: Path) -> bytes:
    try:
        return read_watched(path, MAX_FILE_BYTES)
    except UnusableFile as error:
        raise KeyFileError(str(error)) from error


def parse_keys(content: bytes, name: str) -> list[KeyEntry]:
    """The keys in `content`, read from the file `name`; raises `KeyFileError`."""
    try:
        document = _decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise KeyFileError(f"{name} is no file of keys: {error}") from None
    if document.version != 1:
        raise KeyFileError(f"{name} has version {document.version}; this release reads 1")
    if len(document.keys) > MAX_KEYS:
        raise KeyFileError(f"{name} has more than {MAX_KEYS} keys")
    for entry in document.keys:
        _check(entry, name)
    if len({entry.id for entry in document.keys}) < len(document.keys):
        raise KeyFileError(f"{name} has two keys of one id")
    return document.keys


def _check(entry: KeyEntry, name: str) -> None:
    if not _ID.fullmatch(entry.id) or not _DIGEST.fullmatch(entry.sha256):
        raise KeyFileError(f"{name} has a key whose id or digest is not as `ritmo keys` writes it")
    check_scopes(entry.scopes)
    for moment in (entry.created, entry.expires, entry.revoked, entry.rotated):
        if moment is not None and moment.tzinfo is None:
            raise KeyFileError(f"{name}: a time of key {entry.id} has no zone")
    for resource in RESOURCES:
        rate = getattr(entry.limits, resource)
        if rate is not None:
            parse_rate(rate)
    connections = entry.limits.live_connections
    if connections is not None and not 0 <= connections <= MAX_LIMIT:
        raise KeyFileError(f"{name}: key {entry.id} has an impossible number of live connections")


def check_scopes(scopes: Sequence[str]) -> None:
    """Raises `KeyFileError` unless `scopes` are some of `SCOPES`."""
    if not scopes or not set(scopes) <= set(SCOPES):
        raise KeyFileError(f"scopes are one or more of {', '.join(SCOPES)}")


def read_secrets(path: Path, min_bytes: int) -> list[bytes]:
    """The secrets in the file at `path`, one a line; `#` begins a comment. Raises `KeyFileError`."""
    content = _content(path)
    lines = [line.strip() for line in content.splitlines()]
    secret = [line for line in lines if line and not line.startswith(b"#")]
    if not secret or not content.endswith(b"\n"):
        raise KeyFileError(f"{path} holds no key, or its last line has no end")
    if min(map(len, secret)) < min_bytes:
        raise KeyFileError(f"{path}: every key must have at least {min_bytes} bytes")
    return secret


# --- changes: what `ritmo keys` does ---------------------------------------------------------------------------------


def add_key(
    path: Path,
    scopes: Sequence[str],
    note: str = "",
    expires: datetime | None = None,
    limits: KeyLimits | None = None,
) -> tuple[str, KeyEntry]:
    """Add a new key to the file, which is made where there is none: the key, which is kept nowhere, and its entry.

    Raises `KeyFileError`.
    """
    key, entry = _new_key(scopes, note, expires, limits or KeyLimits())
    with _changed(path) as change:
        change(lambda keys: [*keys, entry])
    return key, entry


def revoke_key(path: Path, key_id: str) -> KeyEntry:
    """Let a key be valid no more; its entry stays, so that the audit log can be read. Raises `KeyFileError`."""
    with _changed(path) as change:
        keys = change(
            lambda keys: [
                replace(entry, revoked=entry.revoked or _now()) if entry.id == key_id else entry
                for entry in _with(keys, key_id)
            ]
        )
    return next(entry for entry in keys if entry.id == key_id)


def rotate_key(path: Path, key_id: str, overlap: timedelta) -> tuple[str, KeyEntry]:
    """Add a key like that of `key_id`, which goes on being valid for `overlap` at most. Raises `KeyFileError`."""
    made: list[tuple[str, KeyEntry]] = []

    def rotated(keys: list[KeyEntry]) -> list[KeyEntry]:
        old = next(entry for entry in _with(keys, key_id) if entry.id == key_id)
        if old.valid_until <= _now().timestamp():
            raise KeyFileError(f"key {key_id} is not valid any more: add a new one")
        if old.rotated is not None:
            raise KeyFileError(f"key {key_id} has a successor since {old.rotated:%Y-%m-%d %H:%M} UTC: rotate that one")
        lifetime = old.expires - old.created if old.expires else None
        expires = _later(_now(), lifetime) if lifetime is not None else None
        key, entry = _new_key(old.scopes, old.note, expires, old.limits)
        made.append((key, entry))
        end = _later(_now(), overlap)
        ended = replace(old, expires=min(old.expires or end, end), rotated=_now())
        return [*(ended if each is old else each for each in keys), entry]

    with _changed(path) as change:
        change(rotated)
    return made[0]


def _new_key(scopes: Sequence[str], note: str, expires: datetime | None, limits: KeyLimits) -> tuple[str, KeyEntry]:
    key_id = secrets.token_hex(_ID_BYTES)
    key = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    created = _now()
    entry = KeyEntry(key_id, key_digest(key.encode()).hex(), list(scopes), created, note, expires, None, limits)
    _check(entry, "the new key")
    if expires is not None and expires <= created:
        raise KeyFileError("the key would have expired already")
    return key, entry


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _later(moment: datetime, period: timedelta) -> datetime:
    """`moment` + `period`, or the last moment there is."""
    try:
        return moment + period
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC, microsecond=0)


def _with(keys: list[KeyEntry], key_id: str) -> list[KeyEntry]:
    if all(entry.id != key_id for entry in keys):
        raise KeyFileError(f"there is no key with the id {key_id}: `ritmo keys list` shows them")
    return keys


Change = Callable[[list[KeyEntry]], list[KeyEntry]]


@contextlib.contextmanager
def _changed(path: Path) -> Iterator[Callable[[Change], list[KeyEntry]]]:
    """A function that replaces the keys in the file; two commands at once come one after the other."""

    def change(make: Change) -> list[KeyEntry]:
        keys = make(read_keys(path) if path.exists() else [])
        if len(keys) > MAX_KEYS:
            raise KeyFileError(f"{path} would have more than {MAX_KEYS} keys: start another file, or remove old ones")
        content = msgspec.json.format(msgspec.json.encode(KeyDocument(1, keys)), indent=2) + b"\n"
        replace_file(path, content)
        return keys

    try:
        # The folder is locked: a file for the lock could belong to another user than the next one that changes keys.
        lock = os.open(path.resolve().parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield change
        finally:
            os.close(lock)
    except OSError as error:
        raise KeyFileError(f"{path} cannot be changed: {error.strerror}") from error


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` next to `path` and put it in its place; a new file is for its owner only.

    Another keeps its mode and its owner, since a service that may not read it any more would never learn of a change. A
    link goes on naming the same file. Raises `OSError`.
    """
    path = path.resolve()
    old = path.stat() if path.exists() else None
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if old is not None:
                _keep_access(file.fileno(), old)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _keep_access(descriptor: int, old: os.stat_result) -> None:
    """Give a file the owner and the mode of `old`. Raises `OSError` where its owner could not read it afterwards."""
    if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
        try:
            os.fchown(descriptor, old.st_uid, old.st_gid)
        except PermissionError:
            if not old.st_mode & stat.S_IROTH:
                raise
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
