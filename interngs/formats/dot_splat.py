# SPDX-License-Identifier: GPL-3.0-or-later
""".splat: 32 bytes per Gaussian, no header, no view dependence (lossy); axes as in 3DGS PLY.

Position and linear scale are float32 triples; colour and opacity four bytes; the quaternion four bytes wxyz, each
128 + 128 q.  The layout is that of the first web viewer (antimatter15/splat).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from ..scene.gaussians import Gaussians
from .quantise import constant_band_from_colours, logits_from_opacities, logs_from_scales, rgba_bytes
from .splat_file import PathOrFile, SplatFile, finish, malformed, open_input, read_exactly, source_name, write_out

RECORD = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("quat", "u1", 4)])
ROWS_AT_ONCE = 65536


def write_dot_splat(target: PathOrFile, gaussians: Gaussians, comments: Sequence[str] = ()) -> None:
    """Write a .splat; bands of SH above the constant one are dropped, and the format has no place for ``comments``.

    Raises:
        InternGSError: the target cannot be written.
    """
    def content(opened: BinaryIO) -> None:
        for start in range(0, len(gaussians), ROWS_AT_ONCE):
            part = gaussians.select(np.arange(start, min(start + ROWS_AT_ONCE, len(gaussians))))
            records = np.empty(len(part), RECORD)
            records["mean"] = part.means
            records["scale"] = part.scales
            records["rgba"] = rgba_bytes(part)
            records["quat"] = np.clip(np.rint(part.quats * 128 + 128), 0, 255)
            opened.write(records.tobytes())

    write_out(target, content)


def read_dot_splat(source: PathOrFile) -> SplatFile:
    """Read a .splat.

    Raises:
        InputError: no such file, or its size is no multiple of 32 bytes.
    """
    name = source_name(source)
    with open_input(source) as (opened, size):
        if size % RECORD.itemsize:
            raise malformed(name, f"its {size} bytes are no multiple of {RECORD.itemsize}, as .splat files have",
                            "Copy or export the file again.")
        records = np.frombuffer(read_exactly(opened, size, name), RECORD)
    rgba = records["rgba"] / np.float32(255)
    return finish("splat", means=records["mean"].copy(), quats=records["quat"].astype(np.float32) - 128,
                  log_scales=logs_from_scales(records["scale"]), opacity_logits=logits_from_opacities(rgba[:, 3]),
                  sh=constant_band_from_colours(rgba[:, None, :3]))
