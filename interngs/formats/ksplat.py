# SPDX-License-Identifier: GPL-3.0-or-later
""".ksplat (GaussianSplats3D): reads compression levels 0 to 2; axes as in 3DGS PLY.

A 4096-byte header, one 1024-byte header per section, then each section's data: the sizes of its partly filled
buckets, the bucket centres, and the Gaussians.  Level 0 holds floats; levels 1 and 2 hold positions as 16-bit offsets
from the bucket's centre and half floats, and level 2 keeps SH values as bytes over a range from the header.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..scene.gaussians import COEFFICIENTS_OF_DEGREE
from .quantise import constant_band_from_colours, logits_from_opacities, logs_from_scales
from .splat_file import PathOrFile, SplatFile, finish, malformed, open_input, read_exactly, source_name, truncated

HEADER_BYTES, SECTION_BYTES = 4096, 1024
DEFAULT_SH_LIMIT = 1.5
_LEVELS: tuple[tuple[str, str, str], ...] = (("<f4", "<f4", "<f4"), ("<u2", "<f2", "<f2"), ("<u2", "<f2", "u1"))
"""Per compression level: the types of positions, of scales and rotations, and of SH values."""


@dataclass(frozen=True)
class _Section:
    count: int
    capacity: int
    bucket_size: int
    bucket_count: int
    block_size: float
    bucket_bytes: int
    offset_range: int
    full_buckets: int
    partial_buckets: int
    sh_degree: int


def read_ksplat(source: PathOrFile) -> SplatFile:
    """Read a .ksplat file; sections of different SH degree are padded to the highest.

    Raises:
        InputError: no such file, no .ksplat, cut short, or an unknown version or compression level.
    """
    name = source_name(source)
    with open_input(source) as (opened, size):
        data = read_exactly(opened, size, name)
    if len(data) < HEADER_BYTES or data[0] != 0 or data[1] < 1:
        raise malformed(name, "it does not begin as a .ksplat file", "Choose a .ksplat file of Gaussians.")
    section_count, = struct.unpack_from("<I", data, 4)
    level, = struct.unpack_from("<H", data, 20)
    sh_low, sh_high = struct.unpack_from("<ff", data, 36)
    if level >= len(_LEVELS):
        raise malformed(name, f"compression level {level} is not known")
    at = HEADER_BYTES + section_count * SECTION_BYTES
    if at > len(data):
        raise truncated(name, f"{section_count} section headers are promised")
    sections = [_section(data, HEADER_BYTES + i * SECTION_BYTES, name) for i in range(section_count)]
    degree = max((section.sh_degree for section in sections), default=0)
    parts = []
    for section in sections:
        part, at = _read_section(data, at, section, level, (sh_low or -DEFAULT_SH_LIMIT, sh_high or DEFAULT_SH_LIMIT),
                                 name)
        wide = np.zeros((section.count, COEFFICIENTS_OF_DEGREE[degree], 3), np.float32)
        wide[:, :part["sh"].shape[1]] = part["sh"]
        parts.append({**part, "sh": wide})
    if not parts:
        raise malformed(name, "it has no sections")
    whole = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return finish("ksplat", means=whole["means"], quats=whole["quats"], log_scales=whole["log_scales"],
                  opacity_logits=whole["opacity_logits"], sh=whole["sh"])


def _section(data: bytes, at: int, name: str) -> _Section:
    count, capacity, bucket_size, bucket_count, block_size, bucket_bytes, offset_range, _, full, partial, degree = \
        struct.unpack_from("<IIIIfHxxIIIIH", data, at)
    if degree > 3 or count > capacity or (bucket_bytes not in (0, 12)):
        raise malformed(name, "a section header is out of range")
    return _Section(count, capacity, bucket_size, bucket_count, block_size, bucket_bytes, offset_range, full, partial,
                    degree)


def _read_section(data: bytes, at: int, section: _Section, level: int, sh_limits: tuple[float, float],
                  name: str) -> tuple[dict[str, NDArray[np.float32]], int]:
    """The arrays of a section, named as in ``Gaussians``, and the byte after it."""
    position_type, float_type, sh_type = _LEVELS[level]
    rest = COEFFICIENTS_OF_DEGREE[section.sh_degree] - 1
    record = np.dtype([("mean", position_type, 3), ("scale", float_type, 3), ("quat", float_type, 4),
                       ("rgba", "u1", 4), ("sh", sh_type, (3 * rest,))])
    centres_at = at + 4 * section.partial_buckets
    records_at = centres_at + section.bucket_bytes * section.bucket_count
    end = records_at + record.itemsize * section.capacity
    if end > len(data):
        raise truncated(name, f"a section of {section.capacity} Gaussians does not fit into the file")
    records = np.frombuffer(data, record, section.count, records_at)
    means = records["mean"].astype(np.float32)
    if level > 0:
        buckets = _bucket_of(data, at, section, name)
        centres = np.frombuffer(data, "<f4", 3 * section.bucket_count, centres_at).reshape(-1, 3)
        half = section.offset_range or 32767
        with np.errstate(over="ignore", invalid="ignore"):
            step = np.float32(section.block_size / 2 / half)
            means = (means - np.float32(half)) * step + centres[buckets]
    values = records["sh"].astype(np.float32)
    if level == 2:
        low, high = sh_limits
        values = np.float32(low) + values * np.float32((high - low) / 255)
    rgba = records["rgba"] / np.float32(255)
    sh = np.empty((section.count, rest + 1, 3), np.float32)
    sh[:, 0] = constant_band_from_colours(rgba[:, :3])
    sh[:, 1:] = _in_our_order(values, section.sh_degree)
    return {"means": means, "quats": records["quat"].astype(np.float32),
            "log_scales": logs_from_scales(records["scale"].astype(np.float32)),
            "opacity_logits": logits_from_opacities(rgba[:, 3]), "sh": sh}, end


def _bucket_of(data: bytes, at: int, section: _Section, name: str) -> NDArray[np.intp]:
    """[N] the bucket of each Gaussian: the full ones first, then the partial ones with their own sizes."""
    filled = section.full_buckets * section.bucket_size
    partial = np.frombuffer(data, "<u4", section.partial_buckets, at).astype(np.int64)
    if filled > section.count or filled + int(partial.sum()) < section.count or \
            section.full_buckets + section.partial_buckets > section.bucket_count or section.bucket_bytes != 12:
        raise malformed(name, "its buckets do not hold its Gaussians")
    ends = filled + np.cumsum(partial)
    places = np.arange(section.count)
    in_partial = section.full_buckets + np.searchsorted(ends, places, side="right")
    return np.where(places < filled, places // max(section.bucket_size, 1), in_partial)


def _in_our_order(values: NDArray[np.float32], sh_degree: int) -> NDArray[np.float32]:
    """[N, K - 1, 3] from the file's order: band after band, in each all of red, then green, then blue."""
    bands, start = [], 0
    for level in range(1, sh_degree + 1):
        size = 3 * (2 * level + 1)
        bands.append(values[:, start:start + size].reshape(len(values), 3, 2 * level + 1).transpose(0, 2, 1))
        start += size
    return np.concatenate(bands, axis=1) if bands else values.reshape(len(values), 0, 3)
