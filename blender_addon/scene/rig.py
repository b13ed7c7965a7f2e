# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the cameras of a capture rig stand: arc, ring or dome around a target; knows no bpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

RigKind = Literal["ARC", "RING", "DOME"]
GOLDEN_ANGLE_RAD = float(np.pi * (3.0 - np.sqrt(5.0)))
SPHERE_MARGIN = 1.1
"""How much farther than a tight fit the cameras stand."""


@dataclass(frozen=True)
class RigLayout:
    """A rig's shape.

    Attributes:
        kind: ``"ARC"`` (part of a circle), ``"RING"`` (a whole circle) or ``"DOME"`` (even cover of a cap).
        count: number of cameras.
        elevation_rad: height of arc and ring above the target's horizon; lowest height of a dome.
        span_rad: horizontal angle that an arc covers.
        heading_rad: direction, from the target, of an arc's middle or a ring's first camera (0 is +X).
    """

    kind: RigKind
    count: int
    elevation_rad: float
    span_rad: float
    heading_rad: float


def directions(layout: RigLayout) -> NDArray[np.float64]:
    """[count, 3] unit vectors from the target to each camera, Z up."""
    number = np.arange(layout.count)
    if layout.kind == "DOME":
        lowest, highest = np.sin(layout.elevation_rad), np.sin(np.radians(85.0))
        z = lowest + (highest - lowest) * (number + 0.5) / layout.count
        azimuth = layout.heading_rad + number * GOLDEN_ANGLE_RAD
    else:
        z = np.full(layout.count, np.sin(layout.elevation_rad))
        if layout.kind == "RING":
            azimuth = layout.heading_rad + 2.0 * np.pi * number / layout.count
        else:
            steps = number / (layout.count - 1) - 0.5 if layout.count > 1 else np.zeros(1)
            azimuth = layout.heading_rad + layout.span_rad * steps
    horizontal = np.sqrt(1.0 - z ** 2)
    return np.stack([horizontal * np.cos(azimuth), horizontal * np.sin(azimuth), z], axis=1)


def fitting_distance(sphere_radius: float, half_angle_rad: float) -> float:
    """Distance at which a sphere just fits into a lens, with a margin."""
    return SPHERE_MARGIN * sphere_radius / float(np.sin(half_angle_rad))


def world_from_blender_camera(position: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """[4, 4] matrix of a Blender camera (looks along -Z, Y up) at ``position`` aimed at ``target``, upright."""
    backward = (position - target) / np.linalg.norm(position - target)
    up = np.array([0.0, 0.0, 1.0])
    if abs(backward[2]) > 0.9999:
        up = np.array([0.0, 1.0, 0.0])
    right = np.cross(up, backward)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2], matrix[:3, 3] = right, np.cross(backward, right), backward, position
    return matrix
