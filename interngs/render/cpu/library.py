# SPDX-License-Identifier: GPL-3.0-or-later
"""The compiled kernels as a ctypes library with checked signatures."""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path

from interngs.errors import InternGSError
from interngs.render.cpu.build import build_for_this_machine

ABI = 1

_INT, _INT64, _FLOAT, _POINTER = ctypes.c_int, ctypes.c_int64, ctypes.c_float, ctypes.c_void_p
_SCENE = (_INT64, *[_POINTER] * 5, _INT, _INT)
_CAMERAS = (_INT, _POINTER, _POINTER, _INT, _INT, _FLOAT, _FLOAT, _FLOAT, _INT)
_SIGNATURES = {
    "interngs_abi": (_INT, ()),
    "interngs_set_threads": (None, (_INT,)),
    "interngs_threads": (_INT, ()),
    "interngs_after_fork": (None, ()),
    "interngs_project_forward": (_INT, (*_SCENE, *_CAMERAS, *[_POINTER] * 6)),
    "interngs_project_backward": (_INT, (*_SCENE, *_CAMERAS, *[_POINTER] * 12)),
    "interngs_composite_forward": (_POINTER, (_INT64, *[_POINTER] * 7, *[_INT] * 4, *[_POINTER] * 2)),
    "interngs_composite_backward": (_INT, (_POINTER, _INT64, _POINTER, _INT, _INT, *[_POINTER] * 10)),
    "interngs_composite_free": (None, (_POINTER,)),
    "interngs_l1_ssim": (_INT, (*[_POINTER] * 3, _INT, _INT, _FLOAT, _POINTER, _POINTER)),
}


def load(path: Path) -> ctypes.CDLL:
    """Loads a kernel library and declares its functions.

    Raises:
        InternGSError: ``kernel-load-failed`` when the file cannot be loaded or is of another version.
    """
    remedy = f"Delete {path} so that it is compiled again."
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise InternGSError("kernel-load-failed", f"The compiled CPU kernels cannot be loaded: {error}.",
                            remedy) from error
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name, None)
        if function is None:
            raise InternGSError("kernel-load-failed", f"{path} has no function {name}.", remedy)
        function.restype = result
        function.argtypes = arguments
    if library.interngs_abi() != ABI:
        raise InternGSError("kernel-load-failed", f"{path} is of another version.", remedy)
    return library


@functools.cache
def kernels() -> ctypes.CDLL:
    """The kernels of this process, compiled on the first call ever.

    Raises:
        InternGSError: see ``build_for_this_machine`` and ``load``.
    """
    library = load(build_for_this_machine())
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=library.interngs_after_fork)
    return library


def set_threads(count: int) -> None:
    """How many threads the kernels use from now on (at least 1).  Results do not depend on it, bit for bit.

    The default is the number of cores, at most 8.
    """
    if count < 1:
        raise ValueError(f"the kernels need at least 1 thread, got {count}")
    kernels().interngs_set_threads(count)


def threads() -> int:
    """How many threads the kernels use."""
    return int(kernels().interngs_threads())


def check_status(status: int) -> None:
    """Turns a kernel's return value into an exception."""
    if status != 0:
        raise MemoryError("the CPU renderer ran out of memory")
