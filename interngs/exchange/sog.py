# SPDX-License-Identifier: GPL-3.0-or-later
"""SOG version 2 (PlayCanvas): lossless WebP pictures and a description in one zip, about 15 times smaller (lossy).

Positions are 16 bits per axis on a logarithmic scale, quaternions three bytes, scales, colours and SH values entries
of 256-value codebooks; SH above the constant band is a palette that Gaussians share.  Axes as in 3DGS PLY.  WebP
needs Pillow.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..formats.quantise import bytes_from_unit, join_largest, logits_from_opacities, split_largest
from ..formats.splat_file import SplatFile, finish, malformed, truncated
from ..scene.gaussians import Gaussians
from ..scene.morton import morton_codes
from ..storage import atomic_write
from .codebook import cluster, codebook_256, nearest_entry

PALETTE_COLUMNS = 64
MOST_PALETTE = 4096
"""Entries of the SH palette.  The format allows 65536; finding so many takes minutes without a GPU."""
MOST_TEXELS = 1 << 28


def write_sog(target: str | os.PathLike[str], gaussians: Gaussians, comments: Sequence[str] = ()) -> None:
    """Write a bundled .sog; Gaussians are put into Morton order, which the pictures compress best.

    SH degree 4 is cut to 3.  ``comments`` go into the description.

    Raises:
        InternGSError: the target cannot be written.
    """
    g = gaussians.with_sh_degree(min(gaussians.sh_degree, 3))
    g = g.select(np.argsort(morton_codes(g.means), kind="stable"))
    files: dict[str, bytes] = {}
    logs = np.sign(g.means) * np.log1p(np.abs(g.means.astype(np.float64)))
    low, high = (logs.min(axis=0), logs.max(axis=0)) if len(g) else (np.zeros(3), np.zeros(3))
    fixed = np.rint((logs - low) / np.where(high > low, high - low, 1) * 65535).astype(np.uint32)
    files["means_l.webp"] = _picture(fixed & 255)
    files["means_u.webp"] = _picture(fixed >> 8)
    largest, others = split_largest(g.quats)
    packed = bytes_from_unit(others * np.float32(np.sqrt(0.5)) + np.float32(0.5))
    files["quats.webp"] = _picture(np.concatenate([packed, 252 + largest[:, None]], axis=1))
    scale_book = codebook_256(g.log_scales)
    files["scales.webp"] = _picture(nearest_entry(scale_book, g.log_scales))
    colour_book = codebook_256(g.sh[:, 0])
    opacity = bytes_from_unit(g.opacities)[:, None]
    files["sh0.webp"] = _picture(np.concatenate([nearest_entry(colour_book, g.sh[:, 0]), opacity], axis=1))
    meta: dict[str, Any] = {
        "version": 2, "asset": {"generator": "Intern-GS for Blender", "comments": list(comments)}, "count": len(g),
        "means": {"mins": low.tolist(), "maxs": high.tolist(), "files": ["means_l.webp", "means_u.webp"]},
        "scales": {"codebook": scale_book.tolist(), "files": ["scales.webp"]},
        "quats": {"files": ["quats.webp"]}, "sh0": {"codebook": colour_book.tolist(), "files": ["sh0.webp"]}}
    if g.sh_degree and len(g):
        meta["shN"] = _harmonics(g, files)

    def content(opened: BinaryIO) -> None:
        with zipfile.ZipFile(opened, "w", zipfile.ZIP_STORED) as bundle:
            # A fixed date: same splat, same bytes.
            for name, data in {"meta.json": json.dumps(meta).encode(), **files}.items():
                bundle.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)

    atomic_write(Path(target), content)


def _harmonics(g: Gaussians, files: dict[str, bytes]) -> dict[str, Any]:
    rest = g.sh.shape[1] - 1
    palette, labels = cluster(np.ascontiguousarray(g.sh[:, 1:]).reshape(len(g), -1), MOST_PALETTE)
    book = codebook_256(palette)
    entries = nearest_entry(book, palette).reshape(-1, rest, 3)
    rows = -(-len(entries) // PALETTE_COLUMNS)
    picture = np.zeros((rows * PALETTE_COLUMNS, rest, 3), np.uint8)
    picture[:len(entries)] = entries
    files["shN_centroids.webp"] = _encode(picture.reshape(rows, PALETTE_COLUMNS * rest, 3))
    files["shN_labels.webp"] = _picture(np.stack([labels & 255, labels >> 8, np.zeros_like(labels)], axis=1))
    return {"count": len(entries), "bands": g.sh_degree, "codebook": book.tolist(),
            "files": ["shN_centroids.webp", "shN_labels.webp"]}


def _picture(values: NDArray[Any]) -> bytes:
    """Rows [N, 3 or 4] as texels of a nearly square picture, four at a time as the format's own writer does."""
    width = max(int(np.ceil(np.sqrt(len(values)) / 4)) * 4, 4)
    height = max(-(-len(values) // width), 1)
    texels = np.zeros((width * height, values.shape[1]), np.uint8)
    texels[:len(values)] = values
    return _encode(texels.reshape(height, width, -1))


def _encode(pixels: NDArray[np.uint8]) -> bytes:
    if pixels.shape[2] == 3:
        pixels = np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 255, np.uint8)], axis=2)
    buffer = io.BytesIO()
    # exact: the colours of transparent texels are data too.
    Image.fromarray(pixels, "RGBA").save(buffer, "WEBP", lossless=True, exact=True, quality=80, method=4)
    return buffer.getvalue()


def read_sog(source: str | os.PathLike[str]) -> SplatFile:
    """Read a bundled .sog of version 2.

    Raises:
        InputError: no such file, no .sog, another version, pictures too small for their count, or damaged.
    """
    path = Path(source)
    try:
        with zipfile.ZipFile(path) as bundle:
            meta = json.loads(_member(bundle, "meta.json", path.name))
            return _read(bundle, meta, path.name)
    except OSError as error:
        if isinstance(error, Image.UnidentifiedImageError) or error.filename is None:
            raise truncated(path.name, f"a picture is damaged ({error})") from error
        raise malformed(path.name, f"it cannot be opened ({error.strerror})", "Check the path.") from error
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError) as error:
        raise malformed(path.name, f"it is no whole .sog bundle ({error})") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError,
            Image.DecompressionBombError) as error:
        raise malformed(path.name, f"its description is inconsistent ({type(error).__name__}: {error})") from error


def _member(bundle: zipfile.ZipFile, name: str, file_name: str) -> bytes:
    info = bundle.getinfo(name)
    if info.file_size > 64 * info.compress_size + (1 << 20):
        raise malformed(file_name, f"{name} in it unpacks to an implausible size")
    return bundle.read(info)


def _texels(bundle: zipfile.ZipFile, name: str, count: int, file_name: str) -> NDArray[np.uint8]:
    """[count, 4] texels of a picture, whose size is checked before decoding."""
    with Image.open(io.BytesIO(_member(bundle, name, file_name))) as picture:
        if picture.width * picture.height < count or picture.width * picture.height > min(4 * count + 4096,
                                                                                         MOST_TEXELS):
            raise malformed(file_name, f"{name} has {picture.width}x{picture.height} texels for {count} Gaussians")
        return np.asarray(picture.convert("RGBA")).reshape(-1, 4)[:count]


def _read(bundle: zipfile.ZipFile, meta: dict[str, Any], name: str) -> SplatFile:
    if meta.get("version") != 2:
        raise malformed(name, f"SOG version {meta.get('version')} is not known")
    count = int(meta["count"])
    if count < 0:
        raise malformed(name, "its count is negative")

    def texels(part: str, index: int = 0) -> NDArray[np.uint8]:
        return _texels(bundle, meta[part]["files"][index], count, name)

    def book(part: str) -> NDArray[np.float32]:
        values = np.array(meta[part]["codebook"], np.float32)
        if values.shape != (256,):
            raise malformed(name, f"the codebook of {part} has {values.shape} values")
        return values

    fixed = texels("means")[:, :3].astype(np.float64) + 256.0 * texels("means", 1)[:, :3]
    low, high = np.array(meta["means"]["mins"], np.float64), np.array(meta["means"]["maxs"], np.float64)
    logs = low + fixed / 65535 * (high - low)
    with np.errstate(over="ignore", invalid="ignore"):
        means = (np.sign(logs) * np.expm1(np.abs(logs))).astype(np.float32)
    quat_texels = texels("quats")
    others = (quat_texels[:, :3] / np.float32(255) * 2 - 1) * np.float32(np.sqrt(0.5))
    colours = texels("sh0")
    rest = 0
    if "shN" in meta:
        rest = (0, 3, 8, 15)[int(meta["shN"]["bands"])]
    sh = np.zeros((count, 1 + rest, 3), np.float32)
    sh[:, 0] = book("sh0")[colours[:, :3]]
    if rest:
        palette_size = int(meta["shN"]["count"])
        rows = -(-palette_size // PALETTE_COLUMNS)
        picture = _texels(bundle, meta["shN"]["files"][0], rows * PALETTE_COLUMNS * rest, name)
        palette = picture[:, :3].reshape(-1, rest, 3)
        label_texels = texels("shN", 1).astype(np.int32)
        sh[:, 1:] = book("shN")[palette[label_texels[:, 0] + 256 * label_texels[:, 1]]]
    told = meta.get("asset", {}).get("comments", [])
    return finish("sog", means=means, quats=join_largest(np.maximum(quat_texels[:, 3], 252) - 252, others),
                  log_scales=book("scales")[texels("scales")[:, :3]],
                  opacity_logits=logits_from_opacities(colours[:, 3] / np.float32(255)), sh=sh,
                  comments=[str(line) for line in told])
