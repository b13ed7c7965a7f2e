# SPDX-License-Identifier: GPL-3.0-or-later
"""The pinhole camera record and its pixel convention."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

ORTHONORMAL_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera in OpenCV axes (x right, y down, z forward).

    Attributes:
        K: [3, 3] float64, pixels; the origin is the top-left corner of the top-left pixel, so
            pixel centres lie at +0.5.  Non-square pixels and off-centre principal points are kept.
        camera_from_world: [4, 4] float64, rigid.
        width_px, height_px: size of the image that ``K`` refers to.
    """

    K: NDArray[np.float64]
    camera_from_world: NDArray[np.float64]
    width_px: int
    height_px: int

    @property
    def world_from_camera(self) -> NDArray[np.float64]:
        """[4, 4] float64 inverse of ``camera_from_world``."""
        rotation = self.camera_from_world[:3, :3]
        inverse = np.eye(4)
        inverse[:3, :3] = rotation.T
        inverse[:3, 3] = -rotation.T @ self.camera_from_world[:3, 3]
        return inverse

    @property
    def centre(self) -> NDArray[np.float64]:
        """[3] camera centre in world units."""
        return self.world_from_camera[:3, 3]

    @property
    def forward(self) -> NDArray[np.float64]:
        """[3] unit viewing direction in the world frame."""
        return self.camera_from_world[2, :3]

    def resized(self, width_px: int, height_px: int) -> Camera:
        """The same camera for its image resized to ``width_px`` x ``height_px``."""
        scale = np.diag([width_px / self.width_px, height_px / self.height_px, 1.0])
        return replace(self, K=scale @ self.K, width_px=width_px, height_px=height_px)

    def project(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Project world points [N, 3] to pixels [N, 2] and camera depth z [N] (world units).

        Pixels of points with z <= 0 are meaningless; test the depth.
        """
        in_camera = points @ self.camera_from_world[:3, :3].T + self.camera_from_world[:3, 3]
        z = in_camera[:, 2]
        safe_z = np.where(np.abs(z) < 1e-12, 1e-12, z)
        homogeneous = in_camera @ self.K.T
        return homogeneous[:, :2] / safe_z[:, None], z

    def pixel_rays(self) -> NDArray[np.float64]:
        """[H, W, 3] ray directions through pixel centres in the camera frame, with z = 1."""
        u, v = np.meshgrid(np.arange(self.width_px) + 0.5, np.arange(self.height_px) + 0.5)
        pixels = np.stack([u, v, np.ones_like(u)], axis=-1)
        return pixels @ np.linalg.inv(self.K).T

    def unproject(self, depth: NDArray[np.floating]) -> NDArray[np.float64]:
        """World points [H, W, 3] of a z-depth map [H, W] given at this camera's size."""
        in_camera = self.pixel_rays() * depth[..., None]
        world_from_camera = self.world_from_camera
        return in_camera @ world_from_camera[:3, :3].T + world_from_camera[:3, 3]


def look_at(centre: NDArray[np.float64], target: NDArray[np.float64], up: NDArray[np.float64]) -> NDArray[np.float64]:
    """[4, 4] camera_from_world of a camera at ``centre`` that looks at ``target`` with ``up`` upwards."""
    forward = target - centre
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, up)
    right = right / np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = -rotation @ centre
    return pose


def validate_camera(camera: Camera, name: str) -> None:
    """Raise ``InputError`` naming ``name`` when a camera cannot be a camera."""
    K, pose = camera.K, camera.camera_from_world
    if K.shape != (3, 3) or pose.shape != (4, 4):
        raise InputError("camera-shape", f"Camera of {name!r} has K {K.shape} and pose {pose.shape}.",
                         "K must be 3x3 and the pose 4x4; write the pose file again.")
    if not (np.isfinite(K).all() and np.isfinite(pose).all()):
        raise InputError("camera-not-finite", f"Camera of {name!r} holds values that are not finite.",
                         "Write the pose file again, or leave this image out.")
    if K[0, 0] <= 0 or K[1, 1] <= 0:
        raise InputError("focal-not-positive", f"Camera of {name!r} has focal lengths {K[0, 0]:g}, {K[1, 1]:g} px.",
                         "Focal lengths must be positive pixels; check the intrinsics.")
    rotation = pose[:3, :3]
    error = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if error > ORTHONORMAL_TOLERANCE or np.linalg.det(rotation) < 0:
        raise InputError("pose-not-rigid", f"The pose of {name!r} is no rotation (orthonormal error {error:.2g}).",
                         "Check that the matrix is a rigid camera pose without scale or mirror.")
    if camera.width_px <= 0 or camera.height_px <= 0:
        raise InputError("camera-size", f"Camera of {name!r} is {camera.width_px}x{camera.height_px} px.",
                         "The image size must be positive.")
