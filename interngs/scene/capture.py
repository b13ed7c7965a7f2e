# SPDX-License-Identifier: GPL-3.0-or-later
"""A capture: the views an artist chose, first as files on disk, then with their pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .cameras import Camera


@dataclass(frozen=True)
class Distortion:
    """Lens distortion of an image file, in COLMAP's camera-model terms.

    Attributes:
        model: COLMAP model name (``"PINHOLE"`` for none, ``"OPENCV"``, ``"OPENCV_FISHEYE"``, ...).
        parameters: the distortion coefficients that follow focal and principal point in that model.
    """

    model: str = "PINHOLE"
    parameters: tuple[float, ...] = ()


@dataclass(frozen=True)
class ViewFile:
    """One view as files on disk; pixels not read yet.

    ``camera`` describes the stored image before undistortion; ``None`` when no pose is known.
    """

    name: str
    image_path: Path
    camera: Camera | None = None
    distortion: Distortion = Distortion()
    mask_path: Path | None = None
    depth_path: Path | None = None


@dataclass(frozen=True, eq=False)
class SparsePoints:
    """Points that came with the poses: ``positions`` [N, 3] float64 world, ``colours`` [N, 3] uint8 sRGB."""

    positions: NDArray[np.float64]
    colours: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class CaptureFiles:
    """A capture on disk.

    Attributes:
        views: in the order of the pose file (or sorted by name for a plain folder).
        source: which format it was read from, in words.
        points: sparse points, when the format has them.
    """

    views: tuple[ViewFile, ...]
    source: str
    points: SparsePoints | None = None


@dataclass(frozen=True, eq=False)
class View:
    """One view with its pixels, undistorted and turned upright.

    Attributes:
        name: the name shown to people; never used as a path.
        image: [H, W, 3] float32 in 0..1, sRGB-encoded.
        camera: sized to ``image``; ``None`` when the pose is unknown.
        mask: [H, W] float32 in 0..1, 1 where the view's colours count; ``None`` for everywhere.
        depth: [H, W] float32 exact z-depth in world units, 0 where unknown; ``None`` when not given.
        focal_px: focal length in pixels of ``image`` that the photograph itself tells (EXIF), a first
            guess where ``camera`` is ``None``; ``None`` when unknown.
        alpha: [H, W] float32 in 0..1, how much of the pixel is covered; 0 means known to be empty, not
            merely ignored.  ``None`` when the photograph has no alpha channel.
        masked: whether the artist's own mask is in ``mask``, which may also leave out what undistortion could not fill.
    """

    name: str
    image: NDArray[np.float32]
    camera: Camera | None = None
    mask: NDArray[np.float32] | None = None
    depth: NDArray[np.float32] | None = None
    focal_px: float | None = None
    alpha: NDArray[np.float32] | None = None
    masked: bool = False

    @property
    def posed_camera(self) -> Camera:
        """The camera of a view that is known to have one."""
        if self.camera is None:
            raise ValueError(f"view {self.name!r} has no camera")
        return self.camera


@dataclass(frozen=True, eq=False)
class Capture:
    """The views of one job, with pixels."""

    views: tuple[View, ...]
    source: str = ""
    points: SparsePoints | None = None
    notes: tuple[str, ...] = field(default=())

    def subset(self, indices: list[int]) -> Capture:
        """The capture reduced to ``indices``, in that order."""
        return Capture(tuple(self.views[i] for i in indices), self.source, self.points, self.notes)
