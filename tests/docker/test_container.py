"""The container as `docker compose up` starts it: it answers, and it can do nothing but answer. `make docker-test`.

Built and started once for all tests, under a project name and a port of its own; the last test stops it.
"""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[2]
MEBIBYTE = 1 << 20

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Container:
    """The running service: its address, and ways to look at it from outside and from within."""

    project: str
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`docker compose …` for this project; what it prints is kept."""
        command = ["docker", "compose", "--project-name", self.project, *arguments]
        environment = {**os.environ, "RITMO_HOST": "127.0.0.1", "RITMO_PORT": str(self.port)}
        result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if check and result.returncode:
            pytest.fail(f"{' '.join(command)} ended with {result.returncode}:\n{result.stdout}{result.stderr}")
        return result

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run `command` in the container, as the service's own user."""
        return self.compose("exec", "-T", "ritmo", *command, check=False)

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run `code` with the interpreter that runs the service."""
        return self.inside("python", "-c", code)

    def inspect(self, template: str) -> str:
        """A field of `docker inspect`, for the container whether it runs or has ended."""
        name = self.compose("ps", "--all", "--quiet", "ritmo").stdout.strip()
        result = subprocess.run(
            ["docker", "inspect", "--format", template, name], capture_output=True, text=True, check=True
        )
        return result.stdout.strip()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    """The service in a container, healthy; removed afterwards with everything that belongs to it."""
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        pytest.fail("these tests need a Docker engine that answers `docker info`")
    container = Container(f"ritmo-test-{os.getpid()}", free_port())
    try:
        container.compose("build")
        up = container.compose("up", "--detach", "--wait", "--wait-timeout", "400", check=False)
        if up.returncode:
            pytest.fail(f"docker compose up --wait:\n{up.stderr}\n{container.compose('logs', check=False).stdout}")
        yield container
    finally:
        container.compose("down", "--volumes", "--timeout", "40", check=False)


def seven() -> bytes:
    """A 7 drawn in dark ink on light paper, as a PNG."""
    image = Image.new("L", (200, 240), 245)
    ImageDraw.Draw(image).line([(45, 50), (150, 50), (90, 200)], fill=15, width=18, joint="curve")
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_forecast(container: Container) -> None:
    rise = [{"item_id": "rise", "target": [10.0, 12, 11, 13, 12, 14, 13, 15, 14, 16]}, {"target": [5]}]
    body = {"inputs": rise, "parameters": {"prediction_length": 4, "quantile_levels": [0.1, 0.5, 0.9]}}
    answer = httpx.post(f"{container.url}/forecast", json=body)
    assert answer.status_code == 200, answer.text
    first, second = answer.json()["predictions"]
    assert first["item_id"] == "rise"
    assert len(first["mean"]) == len(second["mean"]) == 4
    for low, middle, high in zip(*(first["quantiles"][level] for level in ("0.1", "0.5", "0.9")), strict=True):
        assert 0 < low <= middle <= high < 40


def test_digit(container: Container) -> None:
    answer = httpx.post(f"{container.url}/classify-digit", content=seven(), headers={"Content-Type": "image/png"})
    assert answer.status_code == 200, answer.text
    [prediction] = answer.json()["predictions"]
    assert prediction["label"] == 7
    assert prediction["score"] == max(prediction["probabilities"])


def test_health(container: Container) -> None:
    assert httpx.get(f"{container.url}/livez").status_code == 200
    assert httpx.get(f"{container.url}/readyz").status_code == 200
    assert container.inspect("{{.State.Health.Status}}") == "healthy"


def test_every_model_is_ready(container: Container) -> None:
    names = {folder.name for folder in (ROOT / "models").iterdir() if folder.is_dir()}
    models = httpx.get(f"{container.url}/models").json()
    text = json.dumps(models)
    assert names
    assert all(f'"{name}"' in text for name in names)
    assert '"failed"' not in text
    assert '"loading"' not in text


def test_runs_as_an_ordinary_user_without_privileges(container: Container) -> None:
    assert int(container.inside("id", "-u").stdout) > 0
    status = container.inside("cat", "/proc/1/status").stdout
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(fields["Uid"].split()[0]) > 0
    assert int(fields["CapEff"], 16) == 0
    assert int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"] == "1"


@pytest.mark.parametrize("folder", ["/app", "/app/models", "/opt/ritmo", "/usr/local/bin", "/var"])
def test_file_system_is_read_only(container: Container, folder: str) -> None:
    # errno 30 is EROFS: not a matter of permissions, which a look at the user would already explain
    code = f"import os; os.close(os.open('{folder}/written', os.O_CREAT | os.O_WRONLY))"
    result = container.python(code)
    assert result.returncode != 0
    assert "Errno 30" in result.stderr


def test_temporary_files_are_few_and_never_executed(container: Container) -> None:
    mounts = container.inside("cat", "/proc/mounts").stdout.splitlines()
    [options] = [line.split()[3].split(",") for line in mounts if line.split()[1] == "/tmp"]
    assert {"noexec", "nosuid", "nodev", "size=131072k"} <= set(options)


def test_files_and_logs_are_bounded(container: Container) -> None:
    assert container.python(
        "import resource as r; print(r.getrlimit(r.RLIMIT_NOFILE), r.getrlimit(r.RLIMIT_CORE))"
    ).stdout == ("(16384, 16384) (0, 0)\n")
    log = json.loads(container.inspect("{{json .HostConfig.LogConfig}}"))
    assert log == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}


def test_health_and_metrics_have_a_port_inside(container: Container) -> None:
    code = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8001{}', timeout=20).status)"
    for path in ("/livez", "/readyz", "/metrics"):
        assert container.python(code.format(path)).stdout == "200\n", path
    ports = json.loads(container.inspect("{{json .NetworkSettings.Ports}}"))
    assert [port for port, bindings in ports.items() if bindings] == ["8000/tcp"]


def test_temporary_files_work(container: Container) -> None:
    result = container.python("import tempfile; f = tempfile.TemporaryFile(); f.write(b'x'); print(f.tell())")
    assert result.stdout.strip() == "1", result.stderr


@pytest.mark.parametrize("module", ["training", "matplotlib", "scipy", "tqdm", "pytest", "pip"])
def test_neither_training_nor_tools_are_inside(container: Container, module: str) -> None:
    result = container.python(f"import {module}")
    assert "ModuleNotFoundError" in result.stderr


@pytest.mark.parametrize("program", ["sh", "bash", "apt-get", "dpkg", "perl", "pip"])
def test_neither_shell_nor_package_manager_is_inside(container: Container, program: str) -> None:
    result = container.python(f"import shutil; print(shutil.which({program!r}))")
    assert result.stdout.strip() == "None", result.stderr


def test_no_program_has_more_rights_than_its_user(container: Container) -> None:
    code = "import os, pathlib; print([str(p) for d in ('/usr', '/opt', '/app') for p in pathlib.Path(d).rglob('*')"
    code += " if not p.is_symlink() and p.stat().st_mode & 0o6000 and p.is_file()])"
    assert container.python(code).stdout.strip() == "[]"


def test_no_compiler_is_inside(container: Container) -> None:
    result = container.python(
        "import shutil; print([c for c in ('cc', 'gcc', 'clang', 'ld', 'make') if shutil.which(c)])"
    )
    assert result.stdout.strip() == "[]", result.stderr


def test_memory_and_size(container: Container, capsys: pytest.CaptureFixture[str]) -> None:
    limit = int(container.inspect("{{.HostConfig.Memory}}"))
    assert limit == 2048 * MEBIBYTE
    result = container.python("print([l.split()[1] for l in open('/proc/1/smaps_rollup') if l.startswith('Pss:')][0])")
    assert result.returncode == 0, result.stderr
    idle = int(result.stdout) / 1024  # MiB: proportional set size, the process and its share of what is mapped
    image = container.inspect("{{.Image}}")
    inspected = subprocess.run(
        ["docker", "image", "inspect", "--format", "{{.Size}}", image], capture_output=True, text=True, check=True
    )
    history = subprocess.run(
        ["docker", "history", "--human=false", "--format", "{{.Size}}\t{{.CreatedBy}}", image],
        capture_output=True,
        text=True,
        check=True,
    )
    layers = sum(
        int(line.split("\t")[0]) for line in history.stdout.splitlines() if "/opt/ritmo" in line or "/app" in line
    )
    with capsys.disabled():
        size = int(inspected.stdout) / 1e6
        print(f"\nidle memory {idle:.0f} MiB, image {size:.0f} MB, of which {layers / 1e6:.0f} MB above the base image")
    assert idle * MEBIBYTE < limit / 2


def test_sigterm_ends_it_cleanly_within_the_grace_period(container: Container) -> None:
    container.compose("stop")
    assert container.inspect("{{.State.ExitCode}} {{.State.OOMKilled}}") == "0 false"
