# SPDX-License-Identifier: GPL-3.0-or-later
"""Recycled tensor memory: reused when dead, never while alive."""

from __future__ import annotations

import gc

import torch

from interngs.render.cpu import buffers

SHAPE = (buffers.SMALL_BYTES, 3)


def test_memory_of_dead_tensors_is_used_again():
    first = buffers.empty(SHAPE)
    address = first.data_ptr()
    view = first[10:].detach()
    del first
    assert buffers.empty(SHAPE).data_ptr() != address  # a view keeps the memory
    del view
    gc.collect()
    again = [buffers.empty(SHAPE) for _ in range(3)]
    assert address in [tensor.data_ptr() for tensor in again]


def test_living_tensors_never_share_memory():
    tensors = [buffers.empty(SHAPE).fill_(index) for index in range(4)]
    numpy_view = tensors[1].numpy()
    del tensors[1]
    tensors += [buffers.empty(SHAPE).fill_(9) for _ in range(4)]
    assert (numpy_view == 1).all()
    assert [tensor.mean().item() for tensor in tensors[:3]] == [0, 2, 3]


def test_shapes_and_dtypes():
    for shape in ((), (0,), (0, 3), (5, 2), (300, 200, 3)):
        for dtype in (torch.float32, torch.int32):
            tensor = buffers.empty(shape, dtype)
            assert tensor.shape == shape and tensor.dtype == dtype and tensor.is_contiguous()


def test_retained_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(buffers, "RETAINED_BYTES_MAX", 4 << 20)
    pool = buffers._Pool()
    for count in range(1 << 18, 1 << 21, 1 << 18):
        loan = pool.lend(count, "float32")
        del loan
    pool.lend(1 << 18, "float32")
    assert pool._retained_bytes <= 4 << 20
