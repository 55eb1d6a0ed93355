"""training.folders: which folder holds the data sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.folders import REPOSITORY, VARIABLE, cache_folder, data_folder


def test_the_variable_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert data_folder() == tmp_path


def test_a_mistyped_variable_is_an_error_and_no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError, match="absent"):
        data_folder()


def test_without_the_variable_it_is_next_to_the_repository_or_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert data_folder() in (None, REPOSITORY.parent / "shared" / "data")


def test_downloads_go_to_the_ignored_folder_of_this_repository() -> None:
    assert cache_folder() == Path(__file__).resolve().parents[2] / "data"
