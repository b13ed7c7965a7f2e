# SPDX-License-Identifier: GPL-3.0-or-later
"""Photometric cost of depth hypotheses: a plane sweep scored by zero-mean normalised cross-correlation."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..scene.cameras import Camera
from ..scene.capture import View
from .depth_range import DepthRange

COST_SCALE = 127
"""Cost of a correlation of 0 or below."""
UNSEEN_COST = 90
"""Cost of a hypothesis that no source sees: dearer than a match, cheaper than a clear mismatch."""
WINDOWS_PX = (3, 7)
NOISE_VARIANCE = 1e-4
"""Regulariser of the correlation: a window must vary by more than about 1 % of white to say anything."""

_PROBE = 8
_NOWHERE = np.float32(2.0)


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
            mean = self._box(reference, window)
            self.stats.append((window, mean, self._box(reference * reference, window) - mean * mean))

    @staticmethod
    def _box(image: NDArray[np.float32], window: int) -> NDArray[np.float32]:
        return np.asarray(cv2.boxFilter(image, -1, (window, window), borderType=cv2.BORDER_REFLECT_101))

    def __call__(self, warped: NDArray[np.float32]) -> NDArray[np.float32]:
        """[H, W] correlation in -1..1."""
        square, product = warped * warped, warped * self.reference
        total = np.zeros(self.reference.shape, np.float32)
        for window, mean, variance in self.stats:
            warped_mean = self._box(warped, window)
            warped_variance = np.maximum(self._box(square, window) - warped_mean * warped_mean, 0)
            covariance = self._box(product, window) - mean * warped_mean
            total += covariance / np.sqrt((np.maximum(variance, 0) + NOISE_VARIANCE)
                                          * (warped_variance + NOISE_VARIANCE))
        return total / np.float32(len(self.stats))


def grey(view: View) -> NDArray[np.float32]:
    """[H, W] luma of a view in 0..1."""
    return np.asarray(cv2.cvtColor(view.image, cv2.COLOR_RGB2GRAY))


def cost_volume(view: View, sources: list[View], inverse_depths: NDArray[np.float64]) -> NDArray[np.uint8]:
    """[H, W, D] matching cost 0..``COST_SCALE``: the mean over the better half of the sources that see the point.

    The better half, since a point may be hidden in the others (Kang, Szeliski and Chai 2001).
    """
    correlation = _Correlation(grey(view))
    greys = [grey(source) for source in sources]
    masks = [np.ones(image.shape, np.uint8) if source.mask is None else (source.mask > 0.5).astype(np.uint8)
             for image, source in zip(greys, sources, strict=True)]
    height, width = view.image.shape[:2]
    volume = np.empty((height, width, len(inverse_depths)), np.uint8)
    costs = np.empty((len(sources), height, width), np.float32)
    for label, inverse_depth in enumerate(inverse_depths):
        for k, source in enumerate(sources):
            costs[k] = _source_cost(correlation, view.posed_camera, source.posed_camera, greys[k], masks[k],
                                    float(inverse_depth))
        volume[..., label] = _better_half(costs)
    return volume


def _source_cost(correlation: _Correlation, camera: Camera, source: Camera, image: NDArray[np.float32],
                 mask: NDArray[np.uint8], inverse_depth: float) -> NDArray[np.float32]:
    """[H, W] 1 - ZNCC clipped to 0..1 against one source on one plane; 2 where the source does not see it."""
    height, width = correlation.reference.shape
    mapping = plane_homography(camera, source, inverse_depth)
    corners = np.array([[0, 0, 1], [width - 1, 0, 1], [0, height - 1, 1], [width - 1, height - 1, 1]])
    if (corners @ mapping[2]).min() <= 0:      # part of the plane lies behind the source
        return np.full((height, width), _NOWHERE)
    flags = cv2.WARP_INVERSE_MAP
    warped = cv2.warpPerspective(image, mapping, (width, height), flags=flags | cv2.INTER_LINEAR,
                                 borderMode=cv2.BORDER_REPLICATE)
    seen = cv2.warpPerspective(mask, mapping, (width, height), flags=flags | cv2.INTER_NEAREST)
    cost = np.clip(1 - correlation(np.asarray(warped)), 0, 1)
    cost[seen == 0] = _NOWHERE
    return np.asarray(cost)


def _better_half(costs: NDArray[np.float32]) -> NDArray[np.uint8]:
    """[H, W] mean of the better half (rounded up) of the sources that see each pixel, scaled to uint8."""
    ordered = np.sort(costs, axis=0)
    seeing = (ordered < 1.5).sum(axis=0)
    half = np.maximum((seeing + 1) // 2, 1)
    sums = np.cumsum(np.minimum(ordered, 1), axis=0)
    mean = np.take_along_axis(sums, half[None] - 1, axis=0)[0] / half
    return np.where(seeing == 0, UNSEEN_COST, np.round(mean * COST_SCALE)).astype(np.uint8)
