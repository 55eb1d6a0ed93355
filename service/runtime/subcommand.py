"""Sub-commands of a command line, as pydantic models that run themselves."""

from __future__ import annotations

import sys
from typing import Any

from pydantic import BaseModel
from pydantic_settings import get_subcommand


def run_subcommand(command: BaseModel, name: str) -> int:
    """Run the sub-command of `command` that was chosen, by its `run()`; the exit status is 2 where none was."""
    chosen: Any = get_subcommand(command, is_required=False)
    if chosen is None:
        *names, last = type(command).model_fields
        sys.stderr.write(f"ritmo {name}: choose {', '.join(names)} or {last}; --help says more\n")
        return 2
    status: int = chosen.run()
    return status
