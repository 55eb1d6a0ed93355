"""training.data.download: the bytes of a file, or an error that names the address."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.data.download import fetch, write


def test_a_file_is_fetched(mirror: tuple[Path, str]) -> None:
    folder, address = mirror
    (folder / "a.txt").write_bytes(b"content")
    assert fetch(f"{address}a.txt") == b"content"


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/a.txt", "{mirror}absent.txt"])
def test_no_answer_is_an_error_with_the_address(address: str, mirror: tuple[Path, str]) -> None:
    url = address.format(mirror=mirror[1])
    with pytest.raises(ConnectionError, match=f"{url} does not answer"):
        fetch(url)


def test_a_written_file_leaves_no_partial_one(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "a.txt", b"content")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.txt"]
    assert (tmp_path / "deep" / "a.txt").read_bytes() == b"content"
