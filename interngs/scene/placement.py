# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts a splat where it belongs: onto a floor, at a known scale, with its origin at its base.

Every function gives a ``new_from_old`` matrix [4, 4] for ``transform_gaussians`` (or for a Blender object).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

Floats = NDArray[np.floating]
UP = np.array([0.0, 0.0, 1.0])
"""Up in Blender's world; callers in other axes give their own."""

PLANE_TRIALS = 400


@dataclass(frozen=True, eq=False)
class Plane:
    """The points p with ``normal`` . p = ``offset``; ``share`` of the points looked at lie on it."""

    normal: NDArray[np.float64]
    offset: float
    share: float = 1.0


def plane_through(picks: Floats) -> Plane:
    """The plane through three picked points [3, 3]; the normal's side is open until ``floor_matrix`` chooses it.

    Raises:
        InputError: the points lie on one line.
    """
    a, b, c = np.asarray(picks, np.float64)
    normal = np.cross(b - a, c - a)
    length = float(np.linalg.norm(normal))
    if not np.isfinite(length) or length <= 1e-6 * float(np.linalg.norm(b - a) * np.linalg.norm(c - a)):
        raise InputError("floor-picks", "The three picked points lie on one line.",
                         "Pick three points of the floor that span a triangle.")
    return Plane(normal / length, float(normal @ a / length))


def main_plane(points: Floats, tolerance: float | None = None, seed: int = 0) -> Plane:
    """The plane that most points lie on (RANSAC, then a least-squares fit to its points).

    Args:
        points: [N, 3], such as the centres of the opaque Gaussians.
        tolerance: greatest distance from the plane, in the unit of the points; 0.5 % of their spread by default.
        seed: of the random choices.

    Raises:
        InputError: fewer than three points, or all on one line.
    """
    positions = np.asarray(points, np.float64)
    random = np.random.default_rng(seed)
    if len(positions) < 3:
        raise InputError("floor-points", "A floor needs at least three Gaussians.", "Choose another splat.")
    if len(positions) > 50_000:
        positions = positions[random.choice(len(positions), 50_000, replace=False)]
    if tolerance is None:
        tolerance = 0.005 * float(np.linalg.norm(np.subtract(*np.quantile(positions, [0.95, 0.05], axis=0))))
    sample = positions[random.integers(len(positions), size=(PLANE_TRIALS, 3))]
    normals = np.cross(sample[:, 1] - sample[:, 0], sample[:, 2] - sample[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    usable = lengths > 1e-12
    if not usable.any():
        raise InputError("floor-points", "All Gaussians lie on one line: no floor can be fitted.",
                         "Pick three points of the floor by hand.")
    normals = normals[usable] / lengths[usable, None]
    offsets = np.einsum("ti,ti->t", normals, sample[usable, 0])
    counts = [int((np.abs(positions @ n - o) <= tolerance).sum()) for n, o in zip(normals, offsets, strict=True)]
    normal, offset = normals[int(np.argmax(counts))], float(offsets[int(np.argmax(counts))])
    for _ in range(3):
        near = positions[np.abs(positions @ normal - offset) <= tolerance]
        if len(near) < 3:
            break
        centre = near.mean(axis=0)
        normal = np.linalg.svd(near - centre, full_matrices=False)[2][2]
        offset = float(normal @ centre)
    share = float((np.abs(positions @ normal - offset) <= tolerance).mean())
    return Plane(normal, offset, share)


def floor_matrix(plane: Plane, above: Floats, up: Floats = UP) -> NDArray[np.float64]:
    """The rigid move that lays ``plane`` level at height 0, turned as little as possible.

    Args:
        plane: the floor as it lies now.
        above: [N, 3] points that stand above the floor, such as the camera centres or the splat itself; they choose
            which side is up.
        up: unit vector that the floor's normal shall have.
    """
    normal, offset = plane.normal, plane.offset
    if np.median(np.asarray(above, np.float64) @ normal) < offset:
        normal, offset = -normal, -offset
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_between(normal, up)
    matrix[:3, 3] = -offset * np.asarray(up, np.float64)
    return matrix


def rotation_between(first: Floats, second: Floats) -> NDArray[np.float64]:
    """The smallest rotation [3, 3] that turns unit vector ``first`` onto unit vector ``second``."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    cosine = float(a @ b)
    if cosine < -1 + 1e-12:      # opposite: half a turn about any axis across
        axis = np.cross(a, np.eye(3)[int(np.argmin(np.abs(a)))])
        axis /= np.linalg.norm(axis)
        return 2 * np.outer(axis, axis) - np.eye(3)
    x, y, z = np.cross(a, b)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + cross + cross @ cross / (1 + cosine)


def scale_matrix(first: Floats, second: Floats, distance: float) -> NDArray[np.float64]:
    """The uniform scale, about the origin, that makes two points [3] lie ``distance`` apart.

    Raises:
        InputError: the points are the same, or the distance is not positive.
    """
    measured = float(np.linalg.norm(np.asarray(second, np.float64) - np.asarray(first, np.float64)))
    if not (np.isfinite(measured) and measured > 0 and np.isfinite(distance) and distance > 0):
        raise InputError("scale-distance", f"A measured distance of {measured:g} cannot become {distance:g}.",
                         "Pick two different points and give a positive distance.")
    return np.diag([*(distance / measured,) * 3, 1.0])


def base_matrix(means: Floats, up: Floats = UP) -> NDArray[np.float64]:
    """The move that puts the middle of a splat's base to the origin.

    The base is the 1st percentile of height; the middle lies half-way between the 2nd and 98th percentiles across,
    so that a few strays do not shift it.

    Raises:
        InputError: there are no Gaussians.
    """
    if not len(means):
        raise InputError("base-empty", "The splat has no Gaussians.", "Choose another splat.")
    up = np.asarray(up, np.float64)
    positions = np.asarray(means, np.float64)
    across = positions - np.outer(positions @ up, up)
    low, high = np.quantile(across, [0.02, 0.98], axis=0)
    middle = (low + high) / 2
    middle -= (middle @ up) * up
    matrix = np.eye(4)
    matrix[:3, 3] = -(middle + float(np.quantile(positions @ up, 0.01)) * up)
    return matrix
