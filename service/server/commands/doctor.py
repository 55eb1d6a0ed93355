"""`ritmo doctor`: looks at an installation as `ritmo serve` would find it, and says in words what to change.

Nothing is changed, and no model is run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from pydantic import BaseModel, ValidationError

from service.server.commands.file_checks import (
    check_audit_log,
    check_certificate,
    check_keys,
    check_models,
    check_proxies,
)
from service.server.commands.findings import Check, Finding
from service.server.commands.machine_checks import (
    check_clock,
    check_descriptors,
    check_extension,
    check_memory,
    check_ports,
    check_processes,
    check_processors,
    check_software,
    check_temporary_files,
    check_user,
)
from service.settings import Settings, unknown_variables

_MARKS = {"ok": "ok    ", "advice": "advice", "fault": "FAULT "}
CHECKS: tuple[Check, ...] = (
    *(check_software, check_extension, check_processors, check_memory, check_descriptors, check_processes),
    *(check_clock, check_user, check_temporary_files, check_ports, check_models),
    *(check_keys, check_certificate, check_audit_log, check_proxies),
)


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
        advice = sum(finding.level == "advice" for finding in findings)
        print(f"{faults} fault{'s' * (faults != 1)}, {advice} piece{'s' * (advice != 1)} of advice")
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
