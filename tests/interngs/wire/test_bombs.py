# SPDX-License-Identifier: GPL-3.0-or-later
"""Small messages that ask for much memory or time are refused with little of either: 50 MB and 0.1 s of processor."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from interngs.wire.arrays import unpack_arrays
from interngs.wire.codec import decode, pack
from interngs.wire.errors import WireError
from interngs.wire.limits import CONTROL_FRAME_BYTES
from interngs.wire.previews import read_preview

LIST, MAP = b"\x90", b"\x80"


def submit(settings: object) -> bytes:
    return pack({"p": 2, "t": "submit", "r": "x", "b": {"capture": {"views": []}, "settings": settings}, "f": []})


BOMBS = {
    "nested arrays": (decode, [b"\x81\xa1b" + b"\xdc\x07\xff" * 80_000]),
    "nested arrays, as long as allowed": (decode, [(b"\x81\xa1b" + b"\xdc\x08\x00" * 90_000)[:CONTROL_FRAME_BYTES]]),
    "arrays of four billion": (decode, [b"\xdd\xff\xff\xff\xff" * 50_000]),
    "maps of four billion": (decode, [b"\xdf\xff\xff\xff\xff" * 50_000]),
    "empty lists": (decode, [b"\xdc\x08\x00" + (b"\xdc\x00\x7f" + LIST * 127) * 2000]),
    "empty maps": (decode, [b"\xdc\x08\x00" + (b"\xdc\x00\x7f" + MAP * 127) * 2000]),
    "deep maps": (decode, [b"\x81\xa1a" * 80_000]),
    "a long text": (decode, [b"\xdb\x7f\xff\xff\xff" + b"a" * 200_000]),
    "an array larger than its frame": (decode, [pack({
        "p": 2, "t": "upload-chunk", "r": "", "b": {"sha256": "a1" * 32, "offset": 0},
        "f": [["payload", "<f8", [1 << 40]]]}), b"x" * 8]),
    "a container larger than its bytes": (unpack_arrays, b"IGSARR01" + (52).to_bytes(4, "little") + pack(
        {"meta": {}, "arrays": [["a", "<f8", [1 << 39], 0]]}).ljust(52)),
    "a preview larger than its bytes": (read_preview, b"IGSPRE01" + (160).to_bytes(4, "little") + pack({
        "gaussians": 1 << 31, "step": 0, "skipped": 0, "mean_low": [0.0] * 3, "mean_high": [1.0] * 3,
        "log_scale_low": 0.0, "log_scale_high": 0.0}).ljust(520, b"\0")),
    "a settings tree": (decode, [submit([[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]])]),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_cheaply(bomb):
    read, data = BOMBS[bomb]
    began = time.process_time()
    with pytest.raises(WireError):
        read(data)
    assert time.process_time() - began < 0.1
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
