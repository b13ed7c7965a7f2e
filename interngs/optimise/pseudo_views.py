# SPDX-License-Identifier: GPL-3.0-or-later
"""Pseudo views: cameras nobody took, and what the photographs say those cameras would see."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from ..geometry.prior import Geometry
from ..scene.cameras import Camera
from ..scene.capture import Capture

JITTER = 0.05
"""Standard deviation of a jittered position, in camera spreads."""
CYCLE_TOLERANCE = 0.01
"""Relative depth error up to which a photograph is taken to see the same surface (ICO-GS, cycle check)."""
COLOUR_TOLERANCE = 0.12
"""Mean colour difference between photographs at which a warped pixel has lost about 2/3 of its weight."""
MIN_CONFIDENCE = 1.5
"""Depth below this confidence is not warped."""


@dataclass(frozen=True, eq=False)
class PseudoView:
    """A camera nobody took and the photographs warped into it.

    Attributes:
        camera: the camera.
        image: [H, W, 3] float32 sRGB warped colours, 0 where unknown.
        weight: [H, W] float32 0..1, trust in ``image``.
        depth: [H, W] float32 z-depth of the geometry seen from here, 0 where unknown.
    """

    camera: Camera
    image: NDArray[np.float32]
    weight: NDArray[np.float32]
    depth: NDArray[np.float32]


def pseudo_cameras(cameras: list[Camera], count: int, seed: int) -> list[Camera]:
    """``count`` cameras near the given ones: half interpolated between neighbours, half jittered.

    Neighbours are the two nearest camera centres.  Graded from near to far: the n-th camera strays from
    its training camera by up to n/count of the way.  Same seed, same cameras.
    """
    generator = np.random.default_rng(seed)
    centres = np.stack([camera.centre for camera in cameras])
    spread = float(np.linalg.norm(centres - centres.mean(axis=0), axis=1).mean())
    result = []
    for number in range(count):
        first = number % len(cameras)
        reach = 0.2 + 0.8 * (number + 1) / count
        if number // len(cameras) % 2 == 0 and len(cameras) > 1:
            nearest = np.argsort(np.linalg.norm(centres - centres[first], axis=1), kind="stable")[1:3]
            second = int(generator.choice(nearest))
            camera = interpolate_cameras(cameras[first], cameras[second], reach * generator.uniform(0.2, 0.8))
        else:
            camera = cameras[first]
        result.append(_moved(camera, generator.normal(0.0, JITTER * spread * 2 * reach, 3)))
    return result


def interpolate_cameras(first: Camera, second: Camera, share: float) -> Camera:
    """The camera ``share`` (0..1) of the way: centre and intrinsics linear, rotation along the great circle."""
    rotations = Rotation.from_matrix(np.stack([first.camera_from_world[:3, :3], second.camera_from_world[:3, :3]]))
    rotation = Slerp([0.0, 1.0], rotations)(share).as_matrix()
    centre = (1 - share) * first.centre + share * second.centre
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = -rotation @ centre
    same_size = (first.width_px, first.height_px) == (second.width_px, second.height_px)
    K = (1 - share) * first.K + share * second.K if same_size else first.K
    return Camera(K, pose, first.width_px, first.height_px)


def warp_photographs(capture: Capture, geometry: Geometry, camera: Camera) -> PseudoView:
    """What the photographs show from ``camera``, cycle-checked.

    The geometry's confident points give the depth seen from ``camera`` (nearest wins); each of its pixels
    is looked up in every photograph and counts where that photograph's own depth agrees.  Photographs are
    blended by nearness to ``camera``; where several see a pixel and differ in colour, trust falls.
    """
    depth = _visible_depth(geometry, camera)
    known = depth > 0
    points = camera.unproject(depth)[known]
    colours, trusts = [], []
    for view, source in zip(capture.views, geometry.views, strict=True):
        colour, agrees = _look_up(points, view.image, source.camera, np.where(
            source.confidence >= MIN_CONFIDENCE, source.depth, 0.0).astype(np.float32))
        distance = np.linalg.norm(source.camera.centre - camera.centre)
        colours.append(colour)
        trusts.append(agrees / (distance**2 + 1e-12))
    colour_stack = np.stack(colours)
    trust = np.stack(trusts).astype(np.float64)
    total = trust.sum(axis=0)
    share = trust / np.maximum(total, 1e-30)
    blended = (share[..., None] * colour_stack).sum(axis=0)
    disagreement = (share * np.abs(colour_stack - blended).mean(axis=-1)).sum(axis=0)
    witnesses = (trust > 0).sum(axis=0)
    weight = np.exp(-disagreement / COLOUR_TOLERANCE) * np.minimum(0.5 * witnesses, 1.0)
    image = np.zeros((camera.height_px, camera.width_px, 3), np.float32)
    image[known] = blended
    weights = np.zeros(depth.shape, np.float32)
    weights[known] = weight
    return PseudoView(camera, image, weights, depth)


def _visible_depth(geometry: Geometry, camera: Camera) -> NDArray[np.float32]:
    """z-depth [H, W] of the nearest confident points; pin holes closed by the median of their neighbours."""
    depth = np.full((camera.height_px, camera.width_px), np.inf, np.float32)
    for source in geometry.views:
        sure = (source.confidence >= MIN_CONFIDENCE) & (source.depth > 0)
        pixels, z = camera.project(source.pointmap()[sure])
        column, row = np.floor(pixels).astype(np.int64).T
        inside = (z > 0) & (column >= 0) & (column < camera.width_px) & (row >= 0) & (row < camera.height_px)
        np.minimum.at(depth, (row[inside], column[inside]), z[inside].astype(np.float32))
    depth[~np.isfinite(depth)] = 0.0
    return _close_pinholes(depth)


def _close_pinholes(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give empty pixels with at least five known neighbours (of eight) the mean of the nearer half."""
    known = (depth > 0).astype(np.float32)
    kernel = np.ones((3, 3), np.float32)
    count = cv2.filter2D(known, -1, kernel, borderType=cv2.BORDER_CONSTANT)
    nearest = cv2.erode(np.where(depth > 0, depth, np.inf).astype(np.float32), kernel)
    near = np.where((depth > 0) & (depth / 1.05 < nearest), depth, 0.0).astype(np.float32)
    near_count = cv2.filter2D((near > 0).astype(np.float32), -1, kernel, borderType=cv2.BORDER_CONSTANT)
    mean = cv2.filter2D(near, -1, kernel, borderType=cv2.BORDER_CONSTANT) / np.maximum(near_count, 1)
    hole = (depth == 0) & (count >= 5) & (near_count > 0)
    return np.where(hole, mean, depth).astype(np.float32)


def _look_up(points: NDArray[np.float64], image: NDArray[np.float32], camera: Camera,
             depth: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colours [N, 3] of world points in a photograph, and 1 where its depth map agrees that they are seen."""
    pixels, z = camera.project(points)
    in_front = z > 1e-9
    # cv2.remap counts pixel centres from 0, this project from 0.5.
    u = np.where(in_front, pixels[:, 0] - 0.5, -10.0).astype(np.float32)[None]
    v = np.where(in_front, pixels[:, 1] - 0.5, -10.0).astype(np.float32)[None]
    colour = _remap(image, u, v, cv2.INTER_LINEAR)
    seen_depth = _remap(depth, u, v, cv2.INTER_NEAREST)
    agrees = (seen_depth > 0) & (np.abs(seen_depth - z) < CYCLE_TOLERANCE * z) & in_front
    return colour, agrees.astype(np.float32)


def _remap(image: NDArray[np.float32], u: NDArray[np.float32], v: NDArray[np.float32],
           mode: int) -> NDArray[np.float32]:
    """Sample ``image`` at N positions; OpenCV wants maps under 32768 columns, so they are folded into rows."""
    n = u.shape[1]
    columns = 4096
    padded = max(-(-n // columns), 1) * columns
    fold = [np.pad(m[0], (0, padded - n), constant_values=-10).reshape(-1, columns) for m in (u, v)]
    sampled = cv2.remap(image, fold[0], fold[1], mode, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    return sampled.reshape(padded, *image.shape[2:])[:n]


def _moved(camera: Camera, shift: NDArray[np.float64]) -> Camera:
    """The camera with its centre moved by ``shift`` (world units)."""
    pose = camera.camera_from_world.copy()
    pose[:3, 3] -= pose[:3, :3] @ shift
    return Camera(camera.K, pose, camera.width_px, camera.height_px)
