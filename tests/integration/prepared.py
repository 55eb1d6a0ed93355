"""`python -m service serve` in a process that is forked from one in which everything is imported.

Importing torch and the service takes three seconds of a processor, as much as all the rest of a short test. So one
process of this run of tests, multiprocessing's fork server, does it once, and every service of a test, and every worker
of such a service, starts from there. Where the start itself is tested, a server is a process of its own
(`tests.integration.servers.Server`, `as_command`).
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
import tempfile
from collections.abc import Callable, Mapping
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import DupFd
from typing import Any

from service.__main__ import main
from service.api import request

PRELOADED = ["service.server.server", __name__]


class PreparedService:
    """Such a process; the interface is that of `subprocess.Popen`."""

    def __init__(self, environment: Mapping[str, str], stderr: int) -> None:
        """Serve with `environment`, and write the log to the descriptor `stderr`."""
        forkserver.set_forkserver_preload(PRELOADED)
        self._process = _process(environment, stderr, _serve)
        self._process.start()

    def poll(self) -> int | None:
        """The exit status, None while the process runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, once there is one."""
        self._process.join(timeout)
        status = self._process.exitcode
        assert status is not None, f"the process has not ended within {timeout} s"
        return status

    def send_signal(self, number: int) -> None:
        """Send the signal, where the process still runs."""
        if self.poll() is None and self._process.pid is not None:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End the process."""
        self.send_signal(signal.SIGKILL)


class _Context(ForkServerContext):
    """For the workers of a service, which it would spawn: they are forked from where the service was."""

    def Process(self, target: Callable[..., object], args: tuple[object, ...]) -> BaseProcess:  # type: ignore[override]
        """A process like this one in which `target` is called."""
        return _process(os.environ, 2, target, *args)


class _Descriptor:
    """An open file on its way to a process that is being started."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, (DupFd(self._number),)


def _open(copy: Any) -> int:
    number: int = copy.detach()
    return number


def _process(
    environment: Mapping[str, str], stderr: int, function: Callable[..., object], *args: object
) -> BaseProcess:
    """A process that is forked from the prepared one, and calls `function`."""
    return ForkServerProcess(target=_run, args=(dict(environment), _Descriptor(stderr), function, *args))


def _run(environment: dict[str, str], stderr: int, function: Callable[..., object], *args: object) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(stderr, 2)
    os.close(stderr)
    # What the prepared process has read or drawn already, a process of its own would read or draw for itself.
    tempfile.tempdir = None
    request._process_id = secrets.token_hex(6)
    # multiprocessing would start another fork server for the workers: it does not know that this process has one.
    server: Any = forkserver._forkserver
    server.ensure_running = lambda: None
    multiprocessing.get_context = lambda method=None: _Context()  # type: ignore[assignment]
    function(*args)


def _serve() -> None:
    raise SystemExit(main(["serve"]))
