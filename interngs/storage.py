# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes files whole or not at all.  Standard library only."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from .errors import InternGSError

DISK_FULL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG} if hasattr(errno, "EDQUOT")
                             else {errno.ENOSPC, errno.EFBIG})

Content = bytes | Callable[[BinaryIO], object]
"""The bytes themselves, or a function that writes them to an open binary file."""


def atomic_write(path: Path, content: Content) -> None:
    """Write ``content`` under ``path`` so that a reader sees the old file or the whole new one.

    The bytes go to a temporary file in the same folder, are flushed to the disk, and take the final
    name in one step.  Whatever goes wrong, nothing half-written stays behind and an older file under
    ``path`` is kept.  Missing folders are made.

    Raises:
        InternGSError: ``disk-full`` when the disk or the quota is full, ``not-writable`` when the
            system refuses to write there.  Errors of a ``content`` function pass through unchanged.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        _remove(temporary, error)
        explained = _explain(error, path, temporary)
        if explained is not None:
            raise explained from error
        raise
    _flush_folder(path.parent)


def _remove(temporary: Path, reason: BaseException) -> None:
    """Remove the temporary file on the way out; if that fails too, say so beside the first error."""
    try:
        temporary.unlink(missing_ok=True)
    except OSError as error:
        if temporary.exists():
            reason.add_note(f"{temporary} could not be removed either ({error.strerror}); delete it by hand.")


def _explain(error: BaseException, path: Path, temporary: Path) -> InternGSError | None:
    """An error with a remedy for the two failures that people can mend; None for others."""
    if not isinstance(error, OSError):
        return None
    if error.errno in DISK_FULL_ERRORS:
        return InternGSError("disk-full", f"{path} was not written: the disk is full ({error.strerror}).",
                             "Free some space or choose another folder, then run again.")
    ours = {str(path), str(temporary), *map(str, path.parents)}
    if error.filename is not None and str(error.filename) in ours:
        return InternGSError("not-writable", f"{path} was not written: {error.strerror}.",
                             "Choose a folder you may write to, and close programs that hold the file open.")
    return None


def _flush_folder(folder: Path) -> None:
    """Make the new name survive a power cut, on systems whose folders can be flushed."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):   # network and FUSE folders that cannot
            raise
    finally:
        os.close(descriptor)
