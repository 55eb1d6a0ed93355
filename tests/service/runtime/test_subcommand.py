from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_settings import BaseSettings, CliApp, CliSubCommand

from service.runtime.subcommand import run_subcommand


class Add(BaseModel):
    number: int = 0

    def run(self) -> int:
        return self.number


class Keys(BaseSettings):
    add: CliSubCommand[Add]
    list: CliSubCommand[Add]


@pytest.mark.parametrize(("words", "status"), [(["add", "--number", "7"], 7), (["list"], 0), ([], 2)])
def test_the_chosen_command_runs(words: list[str], status: int, capsys: pytest.CaptureFixture[Any]) -> None:
    assert run_subcommand(CliApp.run(Keys, words), "keys") == status
    assert ("ritmo keys: choose add or list" in capsys.readouterr().err) == (not words)
