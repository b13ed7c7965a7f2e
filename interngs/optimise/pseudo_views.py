# SPDX-License-Identifier: GPL-3.0-or-later
"""Pseudo views: cameras nobody took, and what the photographs say those cameras would see."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..geometry.prior import GUESS_BELOW, Geometry
from ..geometry.silhouettes import Silhouettes
from ..scene.cameras import Camera, look_at
from ..scene.capture import Capture
from ..stopping import StopCheck, never
from .camera_ring import blended_view, fit_ring
from .disocclusion import fill_from_behind

MAX_THREADS = 4
"""Views are prepared side by side; each needs a few hundred megabytes at high resolution."""
MAX_WARPED = 12
"""At most so many photographs are warped into a view: more would cost time and show nothing new."""
JITTER = 0.1
"""Standard deviation of a jittered position at full reach, in near depths (about six degrees)."""
CYCLE_TOLERANCE = 0.01
"""Relative depth error up to which a photograph is taken to see the same surface (ICO-GS, cycle check)."""
COLOUR_TOLERANCE = 0.12
"""Mean colour difference between photographs at which a warped pixel has lost about 2/3 of its weight."""
GUESS_TRUST, FILL_TRUST = 0.5, 0.2
"""Trust in pixels warped by a guessed depth, and in those filled from behind, beside 1 for a sure pixel."""


@dataclass(frozen=True, eq=False)
class PseudoView:
    """A camera nobody took and the photographs warped into it.

    Attributes:
        camera: the camera.
        image: [H, W, 3] float32 sRGB warped colours, 0 where unknown.
        weight: [H, W] float32 0..1, trust in ``image``.
        depth: [H, W] float32 z-depth of the geometry seen from here, 0 where unknown.
        gaps: [H, W] bool, areas that no photograph shows, continued from the far side of the gap.
    """

    camera: Camera
    image: NDArray[np.float32]
    weight: NDArray[np.float32]
    depth: NDArray[np.float32]
    gaps: NDArray[np.bool_]


def pseudo_cameras(cameras: list[Camera], near_depth: float, count: int, seed: int) -> list[Camera]:
    """``count`` cameras among and around the given ones.

    Each is a random blend of a training camera with its two nearest neighbours, then moved by a normal
    jitter and turned back to what it looked at.  Cameras that stand around a thing are blended along
    their ring.  Graded from near to far: the n-th strays from its training camera by up to n/count of
    the way.  Same seed, same cameras.

    Args:
        cameras: the training cameras.
        near_depth: how far the nearer parts of the scene are (world units): the unit of the jitter, since
            what a step to the side uncovers depends on it.
        count: how many.
        seed: of the random choices.
    """
    generator = np.random.default_rng(seed)
    centres = np.stack([camera.centre for camera in cameras])
    ring = fit_ring(cameras)
    between = interpolate_cameras if ring is None else ring.between
    result = []
    for number in range(count):
        first = number % len(cameras)
        reach = 0.2 + 0.8 * (number + 1) / count
        camera = cameras[first]
        nearest = np.argsort(np.linalg.norm(centres - centres[first], axis=1), kind="stable")[1:3]
        for neighbour in nearest:
            camera = between(camera, cameras[int(neighbour)], reach * generator.uniform(0.0, 0.6))
        result.append(_moved(camera, generator.normal(0.0, JITTER * near_depth * reach, 3), near_depth))
    return result


def interpolate_cameras(first: Camera, second: Camera, share: float) -> Camera:
    """The camera ``share`` (0..1) of the way: centre and intrinsics linear, rotation along the great circle."""
    rotation, K = blended_view(first, second, share)
    centre = (1 - share) * first.centre + share * second.centre
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = -rotation @ centre
    return Camera(K, pose, first.width_px, first.height_px)


def cameras_nobody_took(geometry: Geometry, count: int, seed: int) -> list[Camera]:
    """The cameras of ``prepare_pseudo_views``; none when no depth is sure."""
    near = [np.percentile(view.depth[view.confidence >= GUESS_BELOW], 25) for view in geometry.views
            if (view.confidence >= GUESS_BELOW).any()]
    if not near:
        return []
    return pseudo_cameras([view.camera for view in geometry.views], float(np.median(near)), count, seed)


def prepare_pseudo_views(capture: Capture, geometry: Geometry, count: int, seed: int,
                         check: StopCheck = never) -> list[PseudoView]:
    """``count`` pseudo views of a capture, from near to far; same seed, same views.

    Raises:
        Stopped: ``check``, which is called before every view, says so.
    """
    return warp_into(capture, geometry, cameras_nobody_took(geometry, count, seed), check)


def warp_into(capture: Capture, geometry: Geometry, cameras: list[Camera], check: StopCheck) -> list[PseudoView]:
    """``warp_photographs`` for each of ``cameras``, several side by side.

    Raises:
        Stopped: ``check``, which is called before every view, says so.
    """
    def warp(camera: Camera) -> PseudoView:
        check()
        return warp_photographs(capture, geometry, camera)

    with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:
        return list(pool.map(warp, cameras))


def warp_photographs(capture: Capture, geometry: Geometry, camera: Camera) -> PseudoView:
    """What the photographs show from ``camera``, in three layers of falling trust.

    Confident depth first, then guesses where that leaves holes, then what lies behind the edges of
    things (``fill_from_behind``).  The points of a layer give the depth seen from ``camera`` (nearest
    wins); each of its pixels is looked up in every photograph and counts where that photograph's own
    depth agrees.  Photographs are blended by nearness to ``camera``; where several see a pixel and
    differ in colour, trust falls.
    """
    capture, geometry = _nearby(capture, geometry, camera)
    image, weight, depth = _warp_layer(capture, geometry, camera, GUESS_BELOW, np.inf)
    guess_image, guess_weight, guess_depth = _warp_layer(capture, geometry, camera, 1e-6, GUESS_BELOW)
    guessed = (depth == 0) & (guess_weight > 0)
    image[guessed], depth[guessed] = guess_image[guessed], guess_depth[guessed]
    weight[guessed] = GUESS_TRUST * guess_weight[guessed]
    image, depth, filled = fill_from_behind(image, np.where(weight > 0, depth, 0.0).astype(np.float32))
    # Nothing is guessed where a photograph shows nothing, or what the artist masked away.
    silhouettes = Silhouettes(capture, [view.camera for view in geometry.views], by_mask=True)
    _empty_outside(silhouettes, camera, image, depth, filled)
    weight[filled] = FILL_TRUST
    # Single pixels between the points of a slanted surface are no gaps behind an edge.
    gaps = cv2.morphologyEx(filled.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    return PseudoView(camera, image, weight, depth, gaps)


def _empty_outside(silhouettes: Silhouettes, camera: Camera, image: NDArray[np.float32], depth: NDArray[np.float32],
                   filled: NDArray[np.bool_]) -> None:
    """Take back, in place, what was filled outside the silhouettes."""
    if not silhouettes or not filled.any():
        return
    wrong = np.zeros(filled.shape, bool)
    wrong[filled] = silhouettes.outside(camera.unproject(depth)[filled])
    image[wrong], depth[wrong], filled[wrong] = 0.0, 0.0, False


def _nearby(capture: Capture, geometry: Geometry, camera: Camera) -> tuple[Capture, Geometry]:
    """Of a large capture the photographs that look at the same from the most alike directions; else all of them."""
    if len(geometry.views) <= MAX_WARPED:
        return capture, geometry
    coarse = [view.depth[::8, ::8] for view in geometry.views]
    known = [float(np.median(depth[depth > 0])) for depth in coarse if (depth > 0).any()]
    focus = camera.centre + (np.median(known) if known else 1.0) * camera.forward
    rays = np.stack([view.camera.centre for view in geometry.views] + [camera.centre]) - focus
    rays /= np.maximum(np.linalg.norm(rays, axis=1, keepdims=True), 1e-12)
    facing = np.stack([view.camera.forward for view in geometry.views]) @ camera.forward
    alike = rays[:-1] @ rays[-1] + facing
    chosen = sorted(np.argsort(-alike, kind="stable")[:MAX_WARPED].tolist())
    return capture.subset(chosen), replace(geometry, views=tuple(geometry.views[k] for k in chosen))


def _warp_layer(capture: Capture, geometry: Geometry, camera: Camera, least: float, below: float,
                ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Colour, trust and depth from the points whose confidence lies in [least, below)."""
    depths = [np.where((source.confidence >= least) & (source.confidence < below), source.depth, 0.0).astype(np.float32)
              for source in geometry.views]
    cameras = [source.camera for source in geometry.views]
    depth = _visible_depth(depths, cameras, camera)
    known = depth > 0
    points = camera.unproject(depth)[known]
    colours, trusts = [], []
    for view, source_camera, source_depth in zip(capture.views, cameras, depths, strict=True):
        colour, agrees = _look_up(points, view.image, source_camera, source_depth)
        distance = np.linalg.norm(source_camera.centre - camera.centre)
        colours.append(colour)
        trusts.append(agrees / (distance**2 + 1e-12))
    blended, weight = _blend(np.stack(colours), np.stack(trusts).astype(np.float64))
    image = np.zeros((camera.height_px, camera.width_px, 3), np.float32)
    weights = np.zeros(depth.shape, np.float32)
    image[known], weights[known] = blended, weight
    return image, weights, depth


def _blend(colours: NDArray[np.float32], trust: NDArray[np.float64],
           ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Colours [S, N, 3] blended by trust [S, N], and how far the blend [N] is to be believed."""
    share = trust / np.maximum(trust.sum(axis=0), 1e-30)
    blended = (share[..., None] * colours).sum(axis=0)
    disagreement = (share * np.abs(colours - blended).mean(axis=-1)).sum(axis=0)
    witnesses = (trust > 0).sum(axis=0)
    return blended, np.exp(-disagreement / COLOUR_TOLERANCE) * np.minimum(0.5 * witnesses, 1.0)


def _visible_depth(depths: list[NDArray[np.float32]], cameras: list[Camera], camera: Camera) -> NDArray[np.float32]:
    """z-depth [H, W] of the nearest points of depth maps; pin holes closed by their neighbours."""
    depth = np.full((camera.height_px, camera.width_px), np.inf, np.float32)
    for source_depth, source_camera in zip(depths, cameras, strict=True):
        points = source_camera.unproject(source_depth)[source_depth > 0]
        pixels, z = camera.project(points)
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


def _moved(camera: Camera, shift: NDArray[np.float64], focus_depth: float) -> Camera:
    """The camera with its centre moved by ``shift`` (world units), turned to keep its aim at ``focus_depth``."""
    focus = camera.centre + focus_depth * camera.forward
    pose = look_at(camera.centre + shift, focus, -camera.camera_from_world[1, :3])
    return Camera(camera.K, pose, camera.width_px, camera.height_px)
