# SPDX-License-Identifier: GPL-3.0-or-later
"""What every splat format shares: the record that readers return, safe opening, atomic writing, cleaning on load."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..scene.axes import Axes
from ..scene.gaussians import Gaussians
from ..storage import atomic_write

PathOrFile: TypeAlias = str | os.PathLike[str] | BinaryIO

LOGIT_LIMIT = 30.0
"""Opacity logits from files are held within +-30 (an opacity of exactly 0 or 1 has an infinite logit)."""
LOG_SCALE_LIMIT = 30.0
"""Log scales from files are held within +-30 (a scale of exactly 0, a flat Gaussian, has the log -inf)."""


@dataclass(frozen=True, eq=False)
class SplatFile:
    """What a reader found in a splat file.

    Attributes:
        gaussians: as the file has them, in the file's own axes and units; finite, quaternions unit length.
        format: short name of the format, ``"ply"``, ``"spz"`` ...
        comments: free text lines that the file carries about itself (facts such as axes and units).
        warnings: what was repaired or left out, one sentence each, with counts.
        axes: what the file says about its axes; None where the format leaves no choice or says nothing.
        metres_per_unit: what the file says about its unit; None where it says nothing.
    """

    gaussians: Gaussians
    format: str
    comments: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    axes: Axes | None = None
    metres_per_unit: float | None = None


def source_name(source: PathOrFile) -> str:
    """A name of the file for messages."""
    if isinstance(source, str | os.PathLike):
        return Path(source).name
    name = getattr(source, "name", None)
    return Path(name).name if isinstance(name, str) else "the stream"


@contextmanager
def open_input(source: PathOrFile) -> Iterator[tuple[BinaryIO, int]]:
    """Open for reading and give the file with the number of bytes that can be read from its position.

    A file object must be seekable and stays open.

    Raises:
        InputError: the file is missing, a folder, or may not be read.
    """
    if not isinstance(source, str | os.PathLike):
        here = source.tell()
        size = source.seek(0, io.SEEK_END) - here
        source.seek(here)
        yield source, size
        return
    try:
        opened = Path(source).open("rb")  # noqa: SIM115  closed by the with statement below
    except OSError as error:
        raise InputError("splat-unreadable", f"{source} cannot be opened: {error.strerror}.",
                         "Check the path and that the file may be read.") from error
    with opened:
        yield opened, os.fstat(opened.fileno()).st_size


def write_out(target: PathOrFile, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Write to a path, whole or not at all (``storage.atomic_write``), or to an open binary file.

    Raises:
        InternGSError: the disk is full, or the target may not be written.
    """
    if isinstance(target, str | os.PathLike):
        atomic_write(Path(target), content)
    elif isinstance(content, bytes):
        target.write(content)
    else:
        content(target)


def read_exactly(opened: BinaryIO, count: int, name: str) -> bytes:
    """``count`` bytes, or ``InputError`` when the file ends earlier.  Check ``count`` against the size first."""
    data = opened.read(count)
    if len(data) != count:
        raise truncated(name, f"{count} bytes were expected, {len(data)} are there")
    return data


def truncated(name: str, detail: str) -> InputError:
    """The error of a file that is shorter than its header says."""
    return InputError("splat-truncated", f"{name} is cut short or its header is wrong: {detail}.",
                      "Copy or export the file again.")


def malformed(name: str, detail: str, remedy: str = "Export the file again.") -> InputError:
    """The error of a file that breaks its format's rules."""
    return InputError("splat-malformed", f"{name} cannot be read: {detail}.", remedy)


def finish(format_name: str, *, means: NDArray[np.float32], quats: NDArray[np.float32],
           log_scales: NDArray[np.float32], opacity_logits: NDArray[np.float32], sh: NDArray[np.float32],
           comments: Sequence[str] = (), warnings: Sequence[str] = ()) -> SplatFile:
    """Make the record from freshly read arrays (changed in place): finite values, unit quaternions, counts told.

    Gaussians with a value that is not finite are left out; an opacity of exactly 0 or 1 and a scale of exactly 0
    (infinite once stored as logit or log) are held at a finite limit; quaternions of length zero become no rotation.
    """
    told = list(warnings)
    np.clip(opacity_logits, -LOGIT_LIMIT, LOGIT_LIMIT, out=opacity_logits)
    np.clip(log_scales, -LOG_SCALE_LIMIT, LOG_SCALE_LIMIT, out=log_scales)
    finite = np.isfinite(means).all(1) & np.isfinite(log_scales).all(1) & np.isfinite(opacity_logits)
    finite &= np.isfinite(quats).all(1)
    with np.errstate(invalid="ignore"):
        has_bad_colour = not np.isfinite(sh.sum(dtype=np.float64))      # one pass; the slow look only where needed
    if has_bad_colour:
        finite &= np.isfinite(sh).all((1, 2))
    bad = len(means) - int(finite.sum())
    if bad:
        told.append(f"{bad} of {len(means)} Gaussians left out: they held values that are not finite.")
        means, quats, log_scales, opacity_logits, sh = (
            values[finite] for values in (means, quats, log_scales, opacity_logits, sh))
    largest = np.abs(quats).max(axis=1, initial=0.0)
    lost = largest < 1e-12
    if lost.any():
        told.append(f"{int(lost.sum())} Gaussians had a quaternion of length zero: set to no rotation.")
        quats[lost] = (1.0, 0.0, 0.0, 0.0)
        largest[lost] = 1.0
    quats /= largest[:, None]
    quats /= np.sqrt(np.einsum("ni,ni->n", quats, quats))[:, None]
    return SplatFile(Gaussians(means, quats, log_scales, opacity_logits, sh), format_name, tuple(comments), tuple(told))
