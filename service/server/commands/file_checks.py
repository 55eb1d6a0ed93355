"""What `ritmo doctor` looks at of the files that the settings name: models, keys, certificates, logs; and of proxies.

Each check yields findings; one that is a fault would keep the service from starting, or from serving as its settings
promise. No model is run.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from service.contract.errors import BrokenModel
from service.contract.manifest import MANIFEST_FILE, read_manifest, verify_files
from service.contract.model_signatures import TrustedKeys
from service.registry.repository import VersionFolder, scan
from service.runtime.key_file import KeyFileError, read_keys, read_secrets
from service.server.commands.findings import MIB, Finding
from service.server.exposure import exposed_host, is_local, refusal
from service.server.tls import CertificateError, expiry, new_context
from service.settings import MIN_KEY_BYTES, Settings

EXPIRY_DAYS = 14.0
LOG_BYTES = 64 * MIB
_DAY = 86_400.0
_MOUNTS = Path("/proc/self/mountinfo")


def check_models(settings: Settings) -> Iterator[Finding]:
    """Whether each version is whole, signed where that is required, and safe from others; none of it is run."""
    trusted = None
    if settings.trusted_keys is not None:
        try:
            trusted = TrustedKeys.read(settings.trusted_keys)
        except ValueError as error:
            yield Finding("fault", "models", str(error))
            return
        yield from _check_writers("models", settings.trusted_keys, "trust a key of their own")
    try:
        versions = scan(settings.models).versions
    except BrokenModel as error:
        yield Finding("fault", "models", f"{error.detail}: set RITMO_MODELS")
        return
    good: list[VersionFolder] = []
    for each in versions:
        try:
            read_manifest(each.folder, trusted)
            verify_files(each.folder)
        except BrokenModel as error:
            yield Finding("fault", "models", f"{each.name}@{each.version}: {error.detail}")
        else:
            good.append(each)
        for path in (each.folder, each.folder / MANIFEST_FILE):
            yield from _check_writers("models", path, "let the service run code of theirs")
    if good:
        signed = " and signed by a trusted key" if trusted else ""
        yield Finding("ok", "models", f"{len(good)} versions in {settings.models} are whole{signed}")
        yield from _check_names(settings, good)
    else:
        yield Finding("fault", "models", f"{settings.models} has no version that can be served")


def _check_names(settings: Settings, versions: list[VersionFolder]) -> Iterator[Finding]:
    """Whether the models that the settings name are there, and those that answer where a request names none."""
    there = {each.name for each in versions}
    for name, version in settings.pins.items():
        if not any((each.name, each.version) == (name, version) for each in versions):
            yield Finding("fault", "models", f"RITMO_MODEL_PINS has {name}={version}, and there is no such version")
    for default, path in (("forecaster", "/forecast"), ("digits", "/classify-digit")):
        name = settings.default_names.get(default, default)
        if name not in there:
            text = f"there is no model {name}: {path} answers only requests that name another"
            yield Finding("advice", "models", f"{text}. Set RITMO_DEFAULT_MODELS={default}=…")


def check_keys(settings: Settings) -> Iterator[Finding]:
    """Whether callers need keys where they should, and the keys can be used."""
    reason = refusal(settings)
    if reason is not None:
        yield Finding("fault", "keys", reason)
    elif settings.api_keys is None:
        if is_local(exposed_host(settings)):
            yield Finding("ok", "keys", "nobody needs one: only this machine is served")
        else:
            yield Finding("advice", "keys", f"everybody who reaches {exposed_host(settings)} may use the service")
    else:
        yield from _check_key_file(settings.api_keys)
    yield from _check_state_keys(settings)


def _check_key_file(path: Path) -> Iterator[Finding]:
    try:
        keys = read_keys(path)
    except KeyFileError as error:
        yield Finding("fault", "keys", str(error))
        return
    now = time.time()
    valid = [key for key in keys if now < key.valid_until]
    if not valid:
        yield Finding("fault", "keys", f"{path} has no valid key: ritmo keys add")
    else:
        yield Finding("ok", "keys", f"{path} has {len(valid)} valid key{'s' * (len(valid) != 1)}")
    for key in valid:
        days = (key.valid_until - now) / _DAY
        if days < EXPIRY_DAYS and key.rotated is None:
            yield Finding("advice", "keys", f"{key.id} expires in {days:.1f} days: ritmo keys rotate {key.id}")
    yield from _check_writers("keys", path, "add a key")
    yield from _check_mount("keys", path)


def _check_state_keys(settings: Settings) -> Iterator[Finding]:
    path = settings.state_keys_file
    if path is not None:
        try:
            count = len(read_secrets(path, MIN_KEY_BYTES))
        except KeyFileError as error:
            yield Finding("fault", "state keys", str(error))
            return
        if path.stat().st_mode & 0o044:
            yield Finding(
                "advice", "state keys", f"{path} can be read by others, who could make tokens: chmod go-r {path}"
            )
        yield from _check_mount("state keys", path)
        yield Finding("ok", "state keys", f"{path} has {count}, the first of which signs")
    elif settings.state_keys is None:
        text = "random at each start: state tokens end with the service, and no other replica reads them"
        yield Finding("advice", "state keys", f"{text}. Set RITMO_STATE_KEYS_FILE (ritmo keys state)")


def check_certificate(settings: Settings) -> Iterator[Finding]:
    """Whether TLS works, and for how long."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None or key is None:
        if not is_local(exposed_host(settings)):
            text = "what others send, keys too, can be read on the way: set RITMO_TLS_CERTIFICATE and RITMO_TLS_KEY"
            yield Finding("advice", "TLS", f"{text}, or put a proxy in front (docs/proxies.md)")
        return
    try:
        days = (expiry(certificate, new_context(certificate, key)) - time.time()) / _DAY
    except CertificateError as error:
        yield Finding("fault", "TLS", str(error))
        return
    if days <= 0:
        yield Finding("fault", "TLS", f"{certificate} has expired: renew it; a running service reads it by itself")
    else:
        yield Finding("advice" if days < EXPIRY_DAYS else "ok", "TLS", f"{certificate} is good for {days:.0f} days")
    if stat.S_IMODE(key.stat().st_mode) & stat.S_IROTH:
        yield Finding("advice", "TLS", f"{key} can be read by others, who could pose as this service: chmod o-r {key}")
    for path in (certificate, key):
        yield from _check_mount("TLS", path)


def check_audit_log(settings: Settings) -> Iterator[Finding]:
    """Whether lines can be written, and for how long."""
    path = settings.audit_log
    if path is None:
        return
    place = path if path.exists() else path.parent
    if not os.access(place, os.W_OK):
        reason = "cannot be written by this user" if place.exists() else "is not there"
        yield Finding(
            "fault", "audit log", f"{place} {reason}: the service does not start; set RITMO_AUDIT_LOG, or chown it"
        )
        return
    free = shutil.disk_usage(path.parent).free
    if free < LOG_BYTES and path.parent != Path("/dev"):
        yield Finding("advice", "audit log", f"the disk of {path} has {free // MIB} MiB left: rotate it, or make room")
    else:
        yield Finding("ok", "audit log", f"{path} can be written")


def check_proxies(settings: Settings) -> Iterator[Finding]:
    """Whether the addresses of callers can be believed."""
    wide = [str(network) for network in settings.proxies if network.prefixlen == 0]
    if wide:
        text = f"RITMO_TRUSTED_PROXIES has {wide[0]}: anybody can say to be anybody; name the proxy alone"
        yield Finding("fault", "proxies", text)
    elif not settings.proxies:
        text = "none is trusted to name its callers: behind one, all of them share one turn in the queue"
        yield Finding("ok", "proxies", f"{text} (RITMO_TRUSTED_PROXIES)")
    else:
        yield Finding("ok", "proxies", f"X-Forwarded-For counts from {settings.trusted_proxies}")


def _check_writers(subject: str, path: Path, deed: str) -> Iterator[Finding]:
    """Whether others than its owner may change what is at `path`, or put something else in its place."""
    if not path.exists():
        return
    mode = path.stat().st_mode
    folder = path.resolve().parent
    folder_mode = folder.stat().st_mode
    if mode & (stat.S_IWOTH if path.is_dir() else stat.S_IWGRP | stat.S_IWOTH):
        yield Finding("fault", subject, f"{path} can be written by others, who could {deed}: chmod go-w {path}")
    elif folder_mode & stat.S_IWOTH and not folder_mode & stat.S_ISVTX:
        yield Finding("fault", subject, f"{folder} can be written by others, who could {deed}: chmod o-w {folder}")


def _check_mount(subject: str, path: Path) -> Iterator[Finding]:
    """Whether the file is mounted by itself: a file that takes its place outside is not seen inside then."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    points = {re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), line.split(" ")[4]) for line in lines}
    if str(path.resolve()) in points:
        text = f"{path} is mounted by itself: a change that is a new file never arrives here"
        yield Finding("advice", subject, f"{text}. Mount its folder")
