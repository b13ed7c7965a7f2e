# SPDX-License-Identifier: GPL-3.0-or-later
"""Finished frames: placed splats as linear colour, alpha and depth, and as the EXR file that compositors read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..formats.exr_writer import exr_bytes
from ..scene.cameras import Camera
from ..scene.gaussians import Gaussians, concatenate
from ..scene.transforms import transform_gaussians
from .view import Picture, ViewRenderer

NOTHING_DEPTH = 1e10
"""Depth where nothing is hit, as Blender's own renders have it."""
ALPHA_MIN = 1.0 / 255.0
"""Fainter pixels have no depth: it would be that of a Gaussian nobody sees."""
LAYER = "Splats"
"""Name of the layer in the EXR files."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Frame:
    """A finished frame.

    Attributes:
        rgba: [H, W, 4] float32 linear light, premultiplied.
        depth: [H, W] float32 expected z-depth in world units; 1e10 where nothing is seen.
    """

    rgba: Floats
    depth: Floats


class FrameRenderer:
    """Renders splats that stand elsewhere in every frame; what does not move is not turned or uploaded again."""

    def __init__(self, splats: Sequence[Gaussians], device: torch.device) -> None:
        self._splats, self._device = splats, device
        self._placed: tuple[tuple[int, bytes], ...] | None = None
        self._renderer: ViewRenderer | None = None

    def render(self, camera: Camera, placements: Sequence[tuple[int, NDArray[np.float64]]]) -> Frame:
        """The frame that ``camera`` takes of splats, each given by its index and its world_from_splat [4, 4].

        Raises:
            InputError: a placement flattens space or is not finite.
        """
        if not placements:
            empty = np.zeros((camera.height_px, camera.width_px), np.float32)
            return Frame(np.stack([empty] * 4, axis=-1), np.full_like(empty, NOTHING_DEPTH))
        placed = tuple((index, matrix.tobytes()) for index, matrix in placements)
        if self._renderer is None or placed != self._placed:
            self._renderer = ViewRenderer(concatenate([transform_gaussians(self._splats[index], matrix)
                                                       for index, matrix in placements]), self._device)
            self._placed = placed
        return frame_of(self._renderer.render(camera))


def frame_of(picture: Picture) -> Frame:
    """A picture over black in linear light.

    Splats are trained to blend sRGB values; a blended colour is made linear as a whole, so that over black, and where
    it covers, it shows what was trained.
    """
    alpha = picture.alpha[..., None]
    encoded = np.clip(picture.rgb / np.maximum(alpha, np.float32(1e-10)), 0.0, 1.0)
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    depth = np.where(picture.alpha >= ALPHA_MIN, picture.depth, np.float32(NOTHING_DEPTH))
    return Frame(np.concatenate([linear * alpha, alpha], axis=-1).astype(np.float32), depth.astype(np.float32))


def exr_of(frame: Frame, pixel_aspect: float = 1.0) -> bytes:
    """The frame as a multi-layer EXR: half-float ``Splats.Combined.RGBA``, float ``Splats.Depth.Z``."""
    channels: dict[str, NDArray[np.floating]] = {
        f"{LAYER}.Combined.{name}": frame.rgba[..., index].astype(np.float16) for index, name in enumerate("RGBA")}
    return exr_bytes(channels | {f"{LAYER}.Depth.Z": frame.depth}, pixel_aspect)
