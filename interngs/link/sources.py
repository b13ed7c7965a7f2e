# SPDX-License-Identifier: GPL-3.0-or-later
"""Captures as a client holds them: files on this machine, hashed and described for the wire."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..formats.image_header import read_image_header
from ..formats.npy_file import read_npy
from ..scene.cameras import Camera
from ..scene.capture import CaptureFiles, Distortion, SparsePoints
from ..scene.gaussians import Gaussians
from ..wire.arrays import pack_arrays
from ..wire.errors import ServiceError
from ..wire.records import (
    BlobKind,
    BlobRef,
    CameraRecord,
    CaptureRecord,
    FrameRecord,
    PlacementRecord,
    RenderRecord,
    ViewRecord,
)
from ..wire.results import result_parts

_READ_BYTES = 1 << 20
_NO_DISTORTION = Distortion()


@dataclass(frozen=True, eq=False)
class ViewSource:
    """One view to be sent.

    Attributes:
        name: shown to people.
        image: JPEG, PNG or WebP file, sent as it is.
        camera: of the stored image; None when the pose is unknown.
        mask: image file, white where the view counts.
        depth: ``.npy`` file or array [H, W] of z-depth in world units, 0 where unknown; or a 16-bit PNG file
            of thousandths of a world unit.
    """

    name: str
    image: Path
    camera: Camera | None = None
    distortion: Distortion = _NO_DISTORTION
    mask: Path | None = None
    depth: Path | NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class CaptureSource:
    """A capture to be sent; ``source`` says in words where its poses come from."""

    views: tuple[ViewSource, ...]
    source: str = ""
    points: SparsePoints | None = None

    @staticmethod
    def of_files(capture: CaptureFiles) -> CaptureSource:
        """The capture that a pose file was read into."""
        views = tuple(ViewSource(view.name, view.image_path, view.camera, view.distortion, view.mask_path,
                                 view.depth_path) for view in capture.views)
        return CaptureSource(views, capture.source, capture.points)


@dataclass(frozen=True, eq=False)
class BlobSource:
    """Where a blob's bytes come from: a file, or a function that makes them."""

    ref: BlobRef
    kind: BlobKind
    path: Path | None = None
    make: Callable[[], bytes] | None = None

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``.

        Raises:
            ServiceError: ``file-changed``: the file is gone or shorter than it was.
        """
        if self.make is not None:
            return self.make()[offset:offset + length]
        assert self.path is not None
        try:
            with self.path.open("rb") as opened:
                opened.seek(offset)
                data = opened.read(length)
        except OSError as error:
            raise _file_changed(self.path) from error
        if len(data) != length:
            raise _file_changed(self.path)
        return data


def _file_changed(path: Path) -> ServiceError:
    return ServiceError("file-changed", f"{path} changed or went away while it was being sent.",
                        "Leave the photos in place until they are uploaded, then submit again.")


@dataclass(frozen=True, eq=False)
class PreparedCapture:
    """A capture ready for the wire: its record, and the source of each blob by hash."""

    record: CaptureRecord
    blobs: dict[str, BlobSource]


@dataclass(frozen=True, eq=False)
class FrameSource:
    """One frame to be rendered: its number in the scene, its camera, and (splat's index, world_from_splat [4, 4])."""

    number: int
    camera: Camera
    placements: tuple[tuple[int, NDArray[np.float64]], ...]


@dataclass(frozen=True, eq=False)
class RenderSource:
    """Splats to be rendered; each is a function that gives it, called in the link's file thread."""

    splats: tuple[Callable[[], Gaussians], ...]
    frames: tuple[FrameSource, ...]


def prepare_render(render: RenderSource) -> PreparedCapture:
    """Hash and describe a render.

    Raises:
        InternGSError: what a splat's function raises.
    """
    blobs: dict[str, BlobSource] = {}
    refs = []
    for make in render.splats:
        data = b"".join(result_parts(make()))
        ref = _ref_of(data)
        blobs[ref.sha256] = BlobSource(ref, "splat", make=_constant(data))
        refs.append(ref)
    frames = tuple(FrameRecord(frame.number, CameraRecord.of(frame.camera), tuple(
        PlacementRecord(index, tuple(map(float, np.asarray(matrix).ravel()))) for index, matrix in frame.placements))
        for frame in render.frames)
    return PreparedCapture(CaptureRecord((), "", None, RenderRecord(tuple(refs), frames)), blobs)


def _constant(data: bytes) -> Callable[[], bytes]:
    return lambda: data


def prepare(capture: CaptureSource, should_stop: Callable[[], bool] = lambda: False) -> PreparedCapture:
    """Hash and describe a capture (reads every file once).

    Raises:
        InputError: a file is missing, unreadable, of another type or too large.
        ServiceError: ``link-closed`` when ``should_stop`` said so.
    """
    blobs: dict[str, BlobSource] = {}

    def add(source: BlobSource) -> BlobRef:
        return blobs.setdefault(source.ref.sha256, source).ref

    views = []
    for view in capture.views:
        header = read_image_header(view.image)
        views.append(ViewRecord(
            view.name, add(_of_file(view.image, "image", should_stop)), header.width_px, header.height_px,
            None if view.camera is None else CameraRecord.of(view.camera),
            view.distortion.model, tuple(map(float, view.distortion.parameters)),
            None if view.mask is None else add(_of_file(view.mask, "mask", should_stop)),
            None if view.depth is None else add(_of_depth(view.depth, should_stop))))
    points = None
    if capture.points is not None and len(capture.points.positions):
        data = pack_arrays({"positions": capture.points.positions.astype("<f4"),
                            "colours": capture.points.colours.astype(np.uint8)}, {"kind": "points"})
        points = add(BlobSource(_ref_of(data), "points", make=lambda: data))
    return PreparedCapture(CaptureRecord(tuple(views), capture.source, points), blobs)


def _ref_of(data: bytes) -> BlobRef:
    return BlobRef(hashlib.sha256(data).hexdigest(), len(data))


def _of_file(path: Path, kind: BlobKind, should_stop: Callable[[], bool]) -> BlobSource:
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as opened:
            while piece := opened.read(_READ_BYTES):
                if should_stop():
                    raise ServiceError("link-closed", "The link was closed while files were being read.",
                                       "Connect and submit again.")
                digest.update(piece)
                size += len(piece)
    except OSError as error:
        raise InputError("file-unreadable", f"{path} cannot be read: {error.strerror or error}.",
                         "Check that the file exists and may be read.") from error
    return BlobSource(BlobRef(digest.hexdigest(), size), kind, path=path)


def _of_depth(depth: Path | NDArray[np.float32], should_stop: Callable[[], bool]) -> BlobSource:
    """The blob of a depth map; the bytes made from a ``.npy`` file are made again when they are needed."""
    if isinstance(depth, Path) and depth.suffix.lower() == ".png":
        return _of_file(depth, "depth", should_stop)

    def make() -> bytes:
        values = read_npy(depth) if isinstance(depth, Path) else depth
        if values.ndim != 2:
            raise InputError("depth-shape", f"A depth map has shape {values.shape}.",
                             "Depth must be one number per pixel: [height, width].")
        return pack_arrays({"depth": values.astype("<f4")}, {"kind": "depth"})

    data = make()
    return BlobSource(_ref_of(data), "depth", make=make)
