"""`ritmo keys`: add, list, revoke and rotate the keys of a service, in the file that it watches."""

from __future__ import annotations

import os
import secrets
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg, CliSubCommand

from service.runtime.key_file import (
    KeyEntry,
    KeyFileError,
    KeyLimits,
    add_key,
    parse_expiry,
    read_keys,
    replace_file,
    revoke_key,
    rotate_key,
)
from service.runtime.subcommand import run_subcommand
from service.settings import MIN_KEY_BYTES, PREFIX

_VARIABLES = {"file": f"{PREFIX}API_KEYS", "state_file": f"{PREFIX}STATE_KEYS_FILE"}
_KEPT = 2  # keys of state tokens that are kept behind a new one


class _KeyCommand(BaseModel):
    """A command about the file of keys."""

    file: Path | None = Field(default=None, description="the file; unset: RITMO_API_KEYS")

    def run(self) -> int:
        """Do it, and print what came of it; raises `KeyFileError`."""
        raise NotImplementedError

    @property
    def path(self) -> Path:
        """The file; raises `KeyFileError` where none is named."""
        return _path(self.file, "file")


class Add(_KeyCommand):
    """Add a key, and print it: it is shown this once, and kept nowhere."""

    scopes: str = Field(default="infer", description="what it may do: infer, observe, admin; commas between")
    note: str = Field(default="", max_length=200, description="whose it is, or what for")
    expires: str | None = Field(default=None, description="90d, 12h or a date; unset: never")
    requests: str | None = Field(default=None, description="at most so many requests and messages, such as 100/s")
    observations: str | None = Field(default=None, description="values of series, such as 1000000/h")
    pictures: str | None = Field(default=None, description="digits to read, such as 600/min")
    live_connections: int | None = Field(default=None, ge=0, description="WebSockets at a time")

    def run(self) -> int:
        """See the class."""
        expires = parse_expiry(self.expires, datetime.now(UTC)) if self.expires else None
        limits = KeyLimits(self.requests, self.observations, self.pictures, self.live_connections)
        scopes = [scope.strip() for scope in self.scopes.split(",") if scope.strip()]
        _show(*add_key(self.path, scopes, self.note, expires, limits))
        return 0


class List(_KeyCommand):
    """List the keys by their ids: state, scopes, end, limits, note."""

    def run(self) -> int:
        """See the class."""
        rows = [("ID", "STATE", "SCOPES", "CREATED", "EXPIRES", "LIMITS", "NOTE"), *map(_row, read_keys(self.path))]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return 0


class Revoke(_KeyCommand):
    """Let a key be valid no more, from now on; a running service notices within seconds."""

    id: CliPositionalArg[str] = Field(description="id of the key, as `ritmo keys list` shows it")

    def run(self) -> int:
        """See the class."""
        entry = revoke_key(self.path, self.id)
        print(f"key {entry.id} is revoked")
        return 0


class Rotate(_KeyCommand):
    """Add a key like an old one, and print it; the old one goes on being valid for a while."""

    id: CliPositionalArg[str] = Field(description="id of the old key, as `ritmo keys list` shows it")
    overlap: str = Field(default="24h", description="how long the old one stays valid: 24h, 7d, 0s")

    def run(self) -> int:
        """See the class."""
        now = datetime.now(UTC)
        overlap = timedelta(0) if self.overlap.strip() in {"0", "0s"} else parse_expiry(self.overlap, now) - now
        _show(*rotate_key(self.path, self.id, max(overlap, timedelta(0))))
        return 0


class State(BaseModel):
    """Put a new key in front of those that sign state tokens; older ones still verify, and the oldest go.

    Wait for RITMO_STATE_TTL_SECONDS between two rotations, and no token is lost. Where several machines serve, put the
    same file on all of them: `--add-only` first adds the new key behind the old one, so that all can verify it before
    any signs with it.
    """

    file: Path | None = Field(default=None, description="the file; unset: RITMO_STATE_KEYS_FILE")
    keep: int = Field(default=_KEPT, ge=0, le=100, description="older keys that stay")
    add_only: bool = Field(default=False, description="add the key as the second: it verifies, and signs nothing yet")

    def run(self) -> int:
        """See the class."""
        path = _path(self.file, "state_file")
        try:
            lines = path.read_bytes().splitlines() if path.exists() else []
            old = [line for line in map(bytes.strip, lines) if line and not line.startswith(b"#")]
            new = secrets.token_urlsafe(2 * MIN_KEY_BYTES).encode()
            keys = [*old[:1], new, *old[1:]] if self.add_only else [new, *old]
            replace_file(path, b"\n".join(keys[: 1 + self.keep]) + b"\n")
        except OSError as error:
            raise KeyFileError(f"{path} cannot be changed: {error.strerror}") from error
        count = min(len(keys), 1 + self.keep)
        print(f"{path} has {count} key{'s' * (count != 1)}, the first of which signs")
        return 0


class Keys(BaseModel):
    """Keys of callers, and of state tokens. The files hold no caller's key, only what recognises one."""

    add: CliSubCommand[Add] = Field(description="make a key and show it once")
    list: CliSubCommand[List] = Field(description="show all keys but their secrets")
    revoke: CliSubCommand[Revoke] = Field(description="end a key")
    rotate: CliSubCommand[Rotate] = Field(description="replace a key, with an overlap")
    state: CliSubCommand[State] = Field(description="rotate the keys that sign state tokens")

    def run(self) -> int:
        """Run the chosen command; the exit status is 2 where it cannot be done, or none was chosen."""
        try:
            return run_subcommand(self, "keys")
        except KeyFileError as error:
            print(error, file=sys.stderr)
            return 2


def _path(file: Path | None, name: str) -> Path:
    variable = _VARIABLES[name]
    path = file or os.environ.get(variable)
    if not path:
        raise KeyFileError(f"name the file: --file keys, or {variable}")
    return Path(path)


def _show(key: str, entry: KeyEntry) -> None:
    """The key on standard output, where a script can take it; everything else on standard error."""
    print(f"key {entry.id} ({', '.join(entry.scopes)}), valid {_until(entry)}; it is shown once:", file=sys.stderr)
    print(key)


def _until(entry: KeyEntry) -> str:
    return f"until {entry.expires:%Y-%m-%d %H:%M} UTC" if entry.expires else "until it is revoked"


def _row(entry: KeyEntry) -> tuple[str, ...]:
    now = datetime.now(UTC).timestamp()
    state = "valid" if now < entry.valid_until else "revoked" if entry.revoked else "expired"
    limits = [
        f"{name} {value}" for name in KeyLimits.__struct_fields__ if (value := getattr(entry.limits, name)) is not None
    ]
    expires = f"{entry.expires:%Y-%m-%d %H:%M}" if entry.expires else "never"
    return (
        entry.id,
        state,
        ",".join(entry.scopes),
        f"{entry.created:%Y-%m-%d}",
        expires,
        ", ".join(limits) or "none",
        entry.note,
    )
