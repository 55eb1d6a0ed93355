"""What the machine lacks is found, and said with what to do."""

from __future__ import annotations

import errno
import importlib
import importlib.metadata
import os
import socket
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from service.runtime import compiled
from service.server.commands import machine_checks
from tests.service.server.commands.test_doctor import found


def test_another_release_of_torch(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr("importlib.metadata.requires", lambda _: ["torch==1.2.3", "torchvision==9"])
    assert "against 1.2.3: install that" in found("software")[0].text
    monkeypatch.setattr("importlib.metadata.requires", lambda _: None)
    assert found("software") == []

    def version(name: str) -> str:
        if name == "uvicorn":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr("importlib.metadata.version", version)
    assert "uvicorn is not installed" in found("software")[0].text


def test_an_extension_that_was_not_built(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "built", None)
    [finding] = found("extension")
    assert finding.level == "advice"
    assert "no C compiler was there" in finding.text
    monkeypatch.setenv("RITMO_COMPILED", "off")
    assert found("extension") == []


def test_torch_that_cannot_be_imported(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def fail(name: str, package: str | None = None) -> Any:
        if name == "torch":
            raise OSError("libgomp.so.1: cannot open shared object file")
        return real(name, package)

    monkeypatch.setattr("importlib.import_module", fail)
    assert "torch cannot be imported: libgomp.so.1" in found("software")[0].text


def test_a_port_that_is_taken(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("RITMO_PORT", str(taken.getsockname()[1]))
        assert "cannot listen" in found("ports")[0].text


def test_a_port_that_only_root_may_take(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(host: str, port: int) -> list[socket.socket]:
        raise PermissionError(errno.EACCES, f"cannot listen on {host}, port {port}: permission denied")

    monkeypatch.setattr(machine_checks, "bind", refuse)
    assert "choose one above 1023" in found("ports")[0].text


def test_the_clock(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = time.time() + 10 * 86_400
    file = Path(machine_checks.__file__)
    real = Path.stat

    def stat(path: Path, **options: Any) -> os.stat_result:
        result = real(path, **options)
        return result if path != file else os.stat_result([*result[:8], int(old), *result[9:]])

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", stat)
        assert "set it" in found("clock")[0].text
    monkeypatch.setattr(machine_checks, "_is_unsynchronised", lambda: True)
    assert "NTP" in found("clock")[0].text


def test_processors_and_limits(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "_CGROUP", tmp_path)
    monkeypatch.setattr(machine_checks, "_cpu_flags", lambda: {"sse2"})
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    (tmp_path / "cpu.stat").write_text("usage_usec 5\nnr_throttled 7\n")
    (tmp_path / "memory.max").write_text("100000000\n")
    texts = " ".join(finding.text for finding in found("processors"))
    assert "AVX2" in texts
    assert "held this container up 7 times" in texts
    assert found("memory")[0].level == "fault"
    (tmp_path / "memory.max").write_text("max\n")
    assert found("memory") == []


def test_processes_and_threads(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "_CGROUP", tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("resource.getrlimit", lambda _: (10, 10))
    (tmp_path / "pids.max").write_text("20\n")
    texts = [finding.text for finding in found("processes")]
    assert [text.partition(", and")[0] for text in texts] == [
        "pids.max of the container is 20",
        "ulimit -u of this user is 10",
    ]


def test_room_for_temporary_files(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(10, 9, 1))
    assert "0 MiB left" in found("temporary")[0].text


def test_who_runs_it(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert "root" in found("user")[0].text
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "read-only" in found("user")[0].text
