"""training.__main__: every command is there and explains its options."""

from __future__ import annotations

import pytest

from training.__main__ import COMMANDS, main


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_its_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert f"python -m training {command}" in text
    assert COMMANDS[command][0] in " ".join(text.split())


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["bake"])
    assert end.value.code == 2
    assert "forecaster" in capsys.readouterr().err
