"""Files that are whole or not there, and what is not a file."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from memsessions.cli.files import replacing


def write(path: Path, data: bytes = b"new") -> None:
    with replacing(path) as file:
        file.write(data)


def test_a_file_is_replaced_when_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_fifo_is_written_to_and_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()), daemon=True)
    reader.start()
    write(path)
    assert stat.S_ISFIFO(path.stat().st_mode)
    reader.join(20)
    assert read == [b"new"]


def test_what_a_link_leads_to_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "file", tmp_path / "link"
    link.symlink_to(target)
    for data in (b"first", b"second"):  # it leads nowhere at first
        write(link, data)
        assert link.is_symlink()
        assert target.read_bytes() == data
    assert [each.name for each in target.parent.iterdir()] == ["file"]


def test_a_link_to_a_device_stays_and_the_device_is_written_to(tmp_path: Path) -> None:
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    write(link)
    assert link.is_symlink()
    assert stat.S_ISCHR(link.stat().st_mode)


def test_a_pipe_can_be_written_to_by_its_name() -> None:
    script = """
import os
from pathlib import Path
from memsessions.cli.files import replacing
os.dup2(1, 9)  # and not /dev/stdout, which could be lost
with replacing(Path("/dev/fd/9")) as file:
    file.write(b"new")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"new", b"")


def test_a_mistake_leaves_what_was_there_also_where_the_new_file_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail() -> None:
        with replacing(path):
            for each in tmp_path.glob(".file.*"):
                each.unlink()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("name", ["missing/file", "loop", "."])
def test_an_error_names_the_file_that_is_meant(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="Errno") as caught:
        write(tmp_path / name)
    assert str(caught.value.filename) == str(tmp_path / name)
