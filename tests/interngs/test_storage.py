# SPDX-License-Identifier: GPL-3.0-or-later
"""Atomic writing: whole or not at all, whatever goes wrong."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from interngs.errors import InternGSError
from interngs.storage import atomic_write


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_writes_bytes_and_makes_folders(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a" / "b" / "result.bin", b"\x00\x01")
    assert (tmp_path / "a" / "b" / "result.bin").read_bytes() == b"\x00\x01"
    assert names(tmp_path / "a" / "b") == ["result.bin"]


def test_a_function_writes_and_the_old_file_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "result.txt"
    target.write_bytes(b"old and longer")
    atomic_write(target, lambda file: file.write(b"new"))
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["result.txt"]


def test_the_final_name_appears_only_when_all_is_written(tmp_path: Path) -> None:
    target = tmp_path / "result.bin"

    def write(file: BinaryIO) -> None:
        file.write(b"x" * 10)
        file.flush()
        assert not target.exists()

    atomic_write(target, write)
    assert target.read_bytes() == b"x" * 10


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EFBIG])
def test_a_full_disk_is_one_clear_error_and_leaves_the_old_file(tmp_path: Path, code: int) -> None:
    target = tmp_path / "result.ply"
    target.write_bytes(b"old")

    def fills_the_disk(file: BinaryIO) -> None:
        file.write(b"half of it")
        raise OSError(code, os.strerror(code))

    with pytest.raises(InternGSError) as caught:
        atomic_write(target, fills_the_disk)
    assert caught.value.code == "disk-full"
    assert str(target) in caught.value.cause and "space" in caught.value.remedy
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["result.ply"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only on Linux: /dev/full is a disk that is always full")
def test_a_really_full_device(tmp_path: Path) -> None:
    """The device answers ENOSPC at the flush, as a full disk with delayed allocation does."""

    def writes_into_the_full_device(file: BinaryIO) -> None:
        with Path("/dev/full").open("wb") as full:
            os.dup2(full.fileno(), file.fileno())
        file.write(b"x" * 100)

    with pytest.raises(InternGSError, match="disk is full"):
        atomic_write(tmp_path / "result.ply", writes_into_the_full_device)
    assert names(tmp_path) == []


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(file: BinaryIO) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "result.ply", interrupted)
    assert names(tmp_path) == []


def test_errors_of_the_writer_pass_unchanged(tmp_path: Path) -> None:
    def reads_something_missing(file: BinaryIO) -> None:
        file.write((tmp_path / "missing.bin").read_bytes())

    with pytest.raises(FileNotFoundError):
        atomic_write(tmp_path / "result.ply", reads_something_missing)
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InternGSError) as caught:
        atomic_write(tmp_path / "file" / "result.ply", b"x")
    assert caught.value.code == "not-writable"


@pytest.mark.skipif(sys.platform == "win32", reason="only on POSIX: files have permission bits")
def test_others_may_read_the_file_as_the_umask_says(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        atomic_write(tmp_path / "result.ply", b"x")
    finally:
        os.umask(old)
    assert (tmp_path / "result.ply").stat().st_mode & 0o777 == 0o644
