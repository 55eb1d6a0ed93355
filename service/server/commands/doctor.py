"""`ritmo doctor`: looks at an installation as `ritmo serve` would find it, and says in words what to change.

Nothing is changed, and no model is run. Each check yields findings; one that is a fault would keep the service from
starting, or from serving as its settings promise.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ValidationError

from service.contract.errors import BrokenModel
from service.contract.manifest import read_manifest, verify_files
from service.contract.model_signatures import TrustedKeys
from service.registry.repository import scan
from service.runtime.cpu_quota import available
from service.runtime.key_file import KeyFileError, read_keys, read_secrets
from service.server.exposure import exposed_host, is_local, refusal
from service.server.listener import bind
from service.server.tls import CertificateError, expiry, new_context
from service.settings import MIN_KEY_BYTES, Settings, unknown_variables

MIB = 1 << 20
WORKER_BYTES, PARENT_BYTES = 700 * MIB, 100 * MIB  # that a process takes with the committed models
TEMPORARY_BYTES = 64 * MIB
EXPIRY_DAYS = 14.0
_DAY = 86_400.0
_CGROUP = Path("/sys/fs/cgroup")
_UNSYNCHRONISED = 5  # adjtimex(2): TIME_ERROR
_MARKS = {"ok": "ok    ", "advice": "advice", "fault": "FAULT "}


class Finding(NamedTuple):
    """What a check found."""

    level: Literal["ok", "advice", "fault"]
    subject: str
    text: str


class Doctor(BaseModel):
    """Check this installation: processors, limits, clock, files, ports, models, keys; say what to change.

    The settings are those of `ritmo serve`, from the environment. The exit status is 1 where there is a fault.
    """

    def run(self) -> int:
        """See the class."""
        findings = list(examine())
        for level, subject, text in findings:
            print(f"{_MARKS[level]}  {subject:<12}  {text}")
        faults = sum(finding.level == "fault" for finding in findings)
        print(f"{faults} faults, {sum(finding.level == 'advice' for finding in findings)} pieces of advice")
        return 1 if faults else 0


def examine() -> Iterator[Finding]:
    """All findings."""
    for name, near in unknown_variables(os.environ).items():
        yield Finding("advice", "settings", f"{name} is no setting" + (f"; did you mean {near}?" if near else ""))
    try:
        settings = Settings()
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_input=False):
            name = f"RITMO_{'.'.join(map(str, fault['loc'])).upper()}" if fault["loc"] else "settings"
            yield Finding("fault", "settings", f"{name}: {fault['msg'].removeprefix('Value error, ')}")
        return
    for check in CHECKS:
        yield from check(settings)


def check_software(_settings: Settings) -> Iterator[Finding]:
    """The interpreter and the release of torch that checkpoints are checked against."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "uvicorn", "fastapi")}
    text = ", ".join([f"Python {platform.python_version()}", *(f"{name} {text}" for name, text in versions.items())])
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        yield Finding("fault", "software", f"{text}: use Python 3.11, 3.12 or 3.13")
    else:
        yield Finding("ok", "software", text)


def check_processors(settings: Settings) -> Iterator[Finding]:
    """What the processors can do, and whether threads and processes fit them."""
    cpus = available()
    flags = _cpu_flags()
    wide = next((name for name in ("avx512f", "avx2") if name in flags), "")
    if platform.machine() == "x86_64" and flags and not wide:
        text = "the processor has no AVX2: networks are computed several times slower than on one that has"
        yield Finding("advice", "processors", text)
    else:
        yield Finding("ok", "processors", f"{cpus} that may be used" + (f", with {wide}" if wide else ""))
    threads = settings.threads or max(1, min(4, cpus // settings.workers))
    if threads * settings.workers > cpus:
        text = f"{settings.workers} processes with {threads} threads each share {cpus} processors"
        yield Finding("advice", "processors", f"{text}: lower RITMO_WORKERS or RITMO_THREADS")
    throttled = _field(_CGROUP / "cpu.stat", "nr_throttled")
    if throttled:
        yield Finding("advice", "processors", f"the CPU quota has held this container up {throttled} times: raise it")


def check_memory(settings: Settings) -> Iterator[Finding]:
    """Whether the processes fit the memory that the container or the machine has."""
    needed = WORKER_BYTES * settings.workers + PARENT_BYTES * (settings.workers > 1) + settings.max_held_bytes
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    quota = _number(_CGROUP / "memory.max") or _number(_CGROUP / "memory" / "memory.limit_in_bytes")
    limit = min(limit, quota or limit)
    text = f"{limit // MIB} MiB, of which {settings.workers} processes take about {needed // MIB}"
    if needed > limit:
        yield Finding("fault", "memory", f"{text}: raise the limit, or lower RITMO_WORKERS or RITMO_MAX_HELD_BYTES")
    else:
        yield Finding("ok", "memory", text)


def check_descriptors(settings: Settings) -> Iterator[Finding]:
    """Whether a process may open as many files as it may have connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < settings.max_live_connections + 256:
        text = f"a process may open {hard}, and RITMO_MAX_LIVE_CONNECTIONS is {settings.max_live_connections}"
        yield Finding(
            "advice", "open files", f"{text}: raise the limit (ulimits.nofile, LimitNOFILE), or lower the setting"
        )
    else:
        yield Finding(
            "ok", "open files", f"a process may open {'any number' if hard == resource.RLIM_INFINITY else hard}"
        )


def check_clock(_settings: Settings) -> Iterator[Finding]:
    """Whether the clock can be right: tokens, keys and certificates expire by it."""
    newest = Path(__file__).stat().st_mtime
    now = datetime.now(UTC)
    if now.timestamp() < newest - _DAY:
        yield Finding("fault", "clock", f"it says {now:%Y-%m-%d %H:%M} UTC, before this release was installed: set it")
    elif _is_unsynchronised():
        yield Finding("advice", "clock", f"{now:%Y-%m-%d %H:%M} UTC, but nothing keeps it right: run an NTP client")
    else:
        yield Finding("ok", "clock", f"{now:%Y-%m-%d %H:%M} UTC")


def check_user(settings: Settings) -> Iterator[Finding]:
    """Whether the service could change what it runs."""
    if os.geteuid() == 0:
        yield Finding("advice", "user", "this is root: run the service as a user of its own")
    elif os.access(settings.models, os.W_OK):
        text = f"the service may write to {settings.models}, which holds what it runs: mount it read-only"
        yield Finding("advice", "user", text)
    else:
        yield Finding("ok", "user", f"uid {os.geteuid()}, which cannot change the models")


def check_temporary_files(_settings: Settings) -> Iterator[Finding]:
    """Room for the counters of several processes."""
    folder = Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK):
        yield Finding("fault", "temporary", f"{folder} cannot be written: mount a tmpfs there, or set TMPDIR")
    elif free < TEMPORARY_BYTES:
        text = f"{folder} has {free // MIB} MiB left: {TEMPORARY_BYTES // MIB} are needed for several processes"
        yield Finding("advice", "temporary", text)
    else:
        yield Finding("ok", "temporary", f"{folder} has {free // MIB} MiB left")


def check_ports(settings: Settings) -> Iterator[Finding]:
    """Whether the ports are free, and may be taken."""
    for name, port in (("RITMO_PORT", settings.port), ("RITMO_MANAGEMENT_PORT", settings.management_port)):
        if port is None:
            continue
        try:
            for sock in bind(settings.host, port):
                sock.close()
        except OSError as error:
            advice = "a service may be running there already" if error.errno == 98 else "choose another"
            yield Finding("fault", "ports", f"{name}: {error.strerror or error}: {advice}")
        else:
            yield Finding("ok", "ports", f"{settings.host}, port {port} ({name}) is free")
    if settings.management_port is None:
        yield Finding("advice", "ports", "RITMO_MANAGEMENT_PORT is not set: probes wait behind requests")


def check_models(settings: Settings) -> Iterator[Finding]:
    """Whether each version is whole, and signed where that is asked for; none of it is run."""
    trusted = None
    if settings.trusted_keys is not None:
        try:
            trusted = TrustedKeys.read(settings.trusted_keys)
        except ValueError as error:
            yield Finding("fault", "models", str(error))
            return
    try:
        versions = scan(settings.models).versions
    except BrokenModel as error:
        yield Finding("fault", "models", f"{error.detail}: set RITMO_MODELS")
        return
    good = 0
    for each in versions:
        try:
            read_manifest(each.folder, trusted)
            verify_files(each.folder)
        except BrokenModel as error:
            yield Finding("fault", "models", f"{each.name}@{each.version}: {error.detail}")
        else:
            good += 1
    if good:
        signed = " and signed by a trusted key" if trusted else ""
        yield Finding("ok", "models", f"{good} versions in {settings.models} are whole{signed}")
    else:
        yield Finding("fault", "models", f"{settings.models} has no version that can be served")


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
        yield Finding("ok", "keys", f"{path} has {len(valid)} valid keys")
    for key in valid:
        days = (key.valid_until - now) / _DAY
        if days < EXPIRY_DAYS:
            yield Finding("advice", "keys", f"{key.id} expires in {days:.1f} days: ritmo keys rotate {key.id}")
    if path.stat().st_mode & 0o022:
        yield Finding("fault", "keys", f"{path} can be written by others, who could add a key: chmod go-w {path}")


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


Check = Callable[[Settings], Iterator[Finding]]
CHECKS: tuple[Check, ...] = (
    *(check_software, check_processors, check_memory, check_descriptors, check_clock, check_user),
    *(check_temporary_files, check_ports, check_models, check_keys, check_certificate, check_proxies),
)


def _cpu_flags() -> set[str]:
    """What the processor can do, as Linux names it; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return set()
    return set(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))


def _field(path: Path, name: str) -> int:
    """The number behind `name` in a file of the control group, 0 where there is none."""
    try:
        fields = dict(line.split(None, 1) for line in path.read_text(encoding="ascii").splitlines())
        return int(fields[name])
    except (OSError, KeyError, ValueError):
        return 0


def _number(path: Path) -> int:
    """The number in a file of the control group, 0 where there is none, or no limit."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _is_unsynchronised() -> bool:
    """Whether the system says that nothing keeps its clock right; False where it does not say."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return False
    return bool(adjtimex(ctypes.create_string_buffer(512)) == _UNSYNCHRONISED)
