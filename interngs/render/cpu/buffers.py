# SPDX-License-Identifier: GPL-3.0-or-later
"""Tensors whose memory is used again when they die, so that no iteration pays for fresh pages."""

from __future__ import annotations

import math
import threading
import weakref
from collections import deque
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

# Below this size malloc itself reuses memory without returning it to the system.
SMALL_BYTES = 1 << 16
RETAINED_BYTES_MAX = 1 << 30

_NUMPY_DTYPES: dict[torch.dtype, DTypeLike] = {torch.float32: np.float32, torch.int32: np.int32}


class _Pool:
    """Free blocks by size; a block comes back when the last tensor over it is gone."""

    def __init__(self) -> None:
        self._free: dict[int, list[NDArray[np.uint8]]] = {}
        self._retained_bytes = 0
        # Finalisers only append here (an atomic operation): they may run at any moment, even while the lock is held.
        self._returned: deque[NDArray[np.uint8]] = deque()
        self._lock = threading.Lock()

    def _collect(self) -> None:
        while self._returned:
            block = self._returned.popleft()
            if block.nbytes > RETAINED_BYTES_MAX:
                continue
            if self._retained_bytes + block.nbytes > RETAINED_BYTES_MAX:
                self._free.clear()
                self._retained_bytes = 0
            self._free.setdefault(block.nbytes, []).append(block)
            self._retained_bytes += block.nbytes

    def lend(self, count: int, dtype: DTypeLike) -> NDArray[Any]:
        """An uninitialised array whose memory comes back when the array dies."""
        size_bytes = _size_class(count * 4)
        with self._lock:
            self._collect()
            blocks = self._free.get(size_bytes)
            if blocks:
                block = blocks.pop()
                self._retained_bytes -= size_bytes
            else:
                block = np.empty(size_bytes, np.uint8)
        # The finaliser must watch this very array: numpy shortens chains of views to their owner.
        loan = block[: count * 4].view(dtype)
        weakref.finalize(loan, self._returned.append, block).atexit = False
        return loan


def _size_class(size_bytes: int) -> int:
    """Rounded up by at most a quarter, so that a growing scene meets few sizes (pages never touched cost nothing)."""
    step = max(1 << (size_bytes.bit_length() - 3), SMALL_BYTES)
    return -(-size_bytes // step) * step


_pool = _Pool()


def empty(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """An uninitialised CPU tensor (float32 or int32) over recycled memory."""
    count = math.prod(shape)
    if count * 4 < SMALL_BYTES:
        return torch.empty(shape, dtype=dtype)
    # from_numpy keeps its array alive for as long as any tensor uses the storage.
    return torch.from_numpy(_pool.lend(count, _NUMPY_DTYPES[dtype])).view(shape)
