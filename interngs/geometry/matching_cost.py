# SPDX-License-Identifier: GPL-3.0-or-later
"""Cost of depth hypotheses: a plane sweep scored by correlation and by the depths of the other views."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..scene.cameras import Camera
from ..scene.capture import View
from .depth_range import DepthRange

COST_SCALE = 127
"""Cost of a correlation of 0 or below."""
UNSEEN_COST = np.float32(0.7)
"""Cost (0..1) of a hypothesis that no source sees: dearer than a match, cheaper than a clear mismatch."""
WINDOWS_PX = (3, 7)
NOISE_VARIANCE = 1e-4
"""Regulariser of the correlation: a window must vary by more than about 1 % of white to say anything."""

DEPTH_WEIGHT = 0.5
"""Share of the other views' depths in the cost, where they are known."""
DEPTH_TOLERANCE = 0.01
"""Relative depth difference at which another view's depth is half as bad as a contradiction."""

_PROBE = 8
_UNSEEN = np.float32(2.0)


@dataclass(frozen=True, eq=False)
class Source:
    """A view that another one is matched against.

    Attributes:
        view: its photo and camera.
        inverse_depth: [H, W] float32 what is already known of its depth, 0 where nothing is; ``None`` at first.
    """

    view: View
    inverse_depth: NDArray[np.float32] | None = None


def _centred(K: NDArray[np.float64]) -> NDArray[np.float64]:
    """``K`` for pixel coordinates that count from the centre of the top-left pixel, as OpenCV's warps do."""
    return np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]]) @ K


def plane_homography(reference: Camera, source: Camera, inverse_depth: float) -> NDArray[np.float64]:
    """[3, 3] map from reference to source pixels (centre-based) for the plane z = 1 / inverse_depth.

    Scaled so that the third coordinate is (depth in the source) / (depth in the reference).
    """
    source_from_reference = source.camera_from_world @ reference.world_from_camera
    plane = np.outer(source_from_reference[:3, 3], [0.0, 0.0, inverse_depth])
    return np.asarray(_centred(source.K) @ (source_from_reference[:3, :3] + plane)
                      @ np.linalg.inv(_centred(reference.K)))


def inverse_depth_planes(reference: Camera, sources: list[Camera], depth_range: DepthRange, step_px: float,
                         most: int) -> NDArray[np.float64]:
    """[D] inverse depths, far to near, evenly spaced so that the widest source moves ``step_px`` per plane."""
    low, high = 1 / depth_range.far, 1 / depth_range.near
    u = (np.arange(_PROBE) + 0.5) / _PROBE
    pixels = np.stack([*np.meshgrid(u * reference.width_px, u * reference.height_px), np.ones((_PROBE, _PROBE))], -1)
    pixels = pixels.reshape(-1, 3)
    samples = np.linspace(low, high, 64)
    planes = 0.0
    for source in sources:
        tracks = np.full((len(samples), len(pixels), 2), np.nan)
        for row, inverse_depth in enumerate(samples):
            mapped = pixels @ plane_homography(reference, source, inverse_depth).T
            seen = mapped[:, 2] > 0
            xy = mapped[:, :2] / np.where(seen, mapped[:, 2], 1.0)[:, None]
            seen &= (xy >= 0).all(axis=1) & (xy < (source.width_px, source.height_px)).all(axis=1)
            tracks[row, seen] = xy[seen]
        moves = np.linalg.norm(np.diff(tracks, axis=0), axis=2)
        moves = moves[np.isfinite(moves)]
        if len(moves):
            planes = max(planes, float(np.median(moves)) * (len(samples) - 1) / step_px)
    return np.linspace(low, high, int(np.clip(np.ceil(planes), 24, most)))


class _Correlation:
    """ZNCC of one reference image with warped images, averaged over windows of several sizes."""

    def __init__(self, reference: NDArray[np.float32]) -> None:
        self.reference = reference
        self.stats = []
        for window in WINDOWS_PX:
            mean = _box(reference, window)
            variance = np.maximum(_box(reference * reference, window) - mean * mean, 0)
            self.stats.append((window, mean, 1 / (np.sqrt(variance + NOISE_VARIANCE) * len(WINDOWS_PX))))

    def __call__(self, warped: NDArray[np.float32]) -> NDArray[np.float32]:
        """[H, W] correlation in -1..1."""
        square, product = warped * warped, warped * self.reference
        total = np.zeros(self.reference.shape, np.float32)
        for window, mean, scale in self.stats:
            warped_mean, variance, covariance = _box(warped, window), _box(square, window), _box(product, window)
            variance -= warped_mean * warped_mean
            np.maximum(variance, 0, out=variance)
            variance += np.float32(NOISE_VARIANCE)
            warped_mean *= mean
            covariance -= warped_mean
            covariance *= scale
            covariance /= np.sqrt(variance, out=variance)
            total += covariance
        return total


def _box(image: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    return np.asarray(cv2.boxFilter(image, -1, (window, window), borderType=cv2.BORDER_REFLECT_101))


def cost_volume(view: View, sources: Sequence[Source], inverse_depths: NDArray[np.float64],
                threads: int) -> NDArray[np.uint8]:
    """[H, W, D] matching cost, 0..``COST_SCALE``.

    The photometric part is the mean over the better half (two at most) of the sources that see the point, since
    it may be hidden in the others (Kang, Szeliski and Chai 2001).  Where a source's own depth is known, a point
    behind it is not compared there at all, and a point before it is charged for standing in free space.
    """
    height, width = view.image.shape[:2]
    planes = np.empty((len(inverse_depths), height, width), np.uint8)
    sweep = _Sweep(view, sources)

    def fill(label: int) -> None:
        planes[label] = sweep.plane(float(inverse_depths[label]))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, range(len(inverse_depths))))
    return _labels_last(planes)


def _labels_last(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[D, H, W] to a contiguous [H, W, D], in bands that stay in the cache."""
    depth, height, width = planes.shape
    volume = np.empty((height, width, depth), np.uint8)
    for top in range(0, height, 16):
        volume[top:top + 16] = planes[:, top:top + 16].transpose(1, 2, 0)
    return volume


class _Sweep:
    """One view and its sources, ready to be compared plane by plane (safe to call from several threads)."""

    def __init__(self, view: View, sources: Sequence[Source]) -> None:
        self.camera = view.posed_camera
        self.correlation = _Correlation(_grey(view))
        self.sources = sources
        self.greys = [_grey(source.view) for source in sources]
        self.masks = [np.ones(image.shape, np.uint8) if source.view.mask is None
                      else (source.view.mask > 0.5).astype(np.uint8)
                      for image, source in zip(self.greys, sources, strict=True)]
        self.columns = np.arange(self.camera.width_px, dtype=np.float32)[None]
        self.rows = np.arange(self.camera.height_px, dtype=np.float32)[:, None]

    def plane(self, inverse_depth: float) -> NDArray[np.uint8]:
        """[H, W] cost of the plane at ``inverse_depth``."""
        photometric, geometric = [], []
        for k, source in enumerate(self.sources):
            mapping = plane_homography(self.camera, source.view.posed_camera, inverse_depth)
            depth_ratio = (mapping[2, 0] * self.columns + mapping[2, 1] * self.rows + mapping[2, 2]).astype(np.float32)
            if depth_ratio.min() <= 0:      # part of the plane lies behind the source
                photometric.append(np.full(depth_ratio.shape, _UNSEEN))
                continue
            cost = self._photometric(k, mapping)
            if source.inverse_depth is not None:
                charge, hidden = self._geometric(source.inverse_depth, mapping, depth_ratio / np.float32(inverse_depth))
                cost[hidden] = _UNSEEN
                geometric.append(charge)
            photometric.append(cost)
        total = _better_half(photometric)
        if geometric:
            stack = np.stack(geometric)
            total = (1 - DEPTH_WEIGHT) * total + DEPTH_WEIGHT * (stack.max(axis=0) + stack.min(axis=0)) / 2
        return np.asarray(np.round(total * COST_SCALE), np.uint8)

    def _warp(self, image: NDArray[Any], mapping: NDArray[np.float64], interpolation: int, border: int) -> NDArray[Any]:
        return np.asarray(cv2.warpPerspective(image, mapping, (self.camera.width_px, self.camera.height_px),
                                              flags=cv2.WARP_INVERSE_MAP | interpolation, borderMode=border))

    def _photometric(self, k: int, mapping: NDArray[np.float64]) -> NDArray[np.float32]:
        """[H, W] 1 - ZNCC clipped to 0..1; ``_UNSEEN`` outside the source's frame or mask."""
        warped = self._warp(self.greys[k], mapping, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
        seen = self._warp(self.masks[k], mapping, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)
        cost = self.correlation(warped)
        np.subtract(1, cost, out=cost)
        np.clip(cost, 0, 1, out=cost)
        cost[seen == 0] = _UNSEEN
        return cost

    def _geometric(self, known: NDArray[np.float32], mapping: NDArray[np.float64],
                   z: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Charge 0..1 [H, W] for points at depth ``z`` in the source, and which of them it cannot see.

        0 on the source's surface, 1/2 where nothing is known or the point is hidden, 1 in free space.
        """
        inverse = self._warp(known, mapping, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)
        beyond = (z * inverse - 1) / np.float32(2 * DEPTH_TOLERANCE)
        there = inverse > 0
        charge = np.where(there & (np.abs(beyond) < 1), np.abs(beyond) / 2, np.float32(0.5))
        charge[there & (beyond <= -1)] = 1
        return charge, there & (beyond >= 1)


def _grey(view: View) -> NDArray[np.float32]:
    """[H, W] luma of a view in 0..1."""
    return np.asarray(cv2.cvtColor(view.image, cv2.COLOR_RGB2GRAY))


def _better_half(costs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """[H, W] the best cost, or the mean of the best two where three sources or more see the point."""
    best, second = costs[0], np.full_like(costs[0], _UNSEEN)
    seeing = (costs[0] < _UNSEEN).astype(np.uint8)
    for cost in costs[1:]:
        second = np.minimum(second, np.maximum(best, cost))
        best = np.minimum(best, cost)
        seeing += cost < _UNSEEN
    mean = np.where(seeing >= 3, (best + second) / 2, best)
    return np.where(seeing == 0, UNSEEN_COST, mean)
