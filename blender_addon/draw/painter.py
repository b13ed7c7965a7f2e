# SPDX-License-Identifier: GPL-3.0-or-later
"""Textures, buffers and draw calls of the preview; needs a live GPU context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gpu
import numpy as np
from gpu_extras.batch import batch_for_shader
from numpy.typing import NDArray

from .shaders import MODES, SPLAT_SAMPLERS, composite_shader, splat_shader

MOST_BUFFERS = 4
"""Sizes of 3D views for which pictures are kept."""
CORNERS = [(-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0)]


@dataclass(frozen=True)
class Look:
    """How Gaussians are shown: factors on opacity and size, and one of ``MODES``."""

    opacity: float = 1.0
    size: float = 1.0
    mode: str = "SPLATS"


@dataclass(frozen=True, eq=False)
class Picture:
    """What one view is painted from.

    Attributes:
        splats, harmonics, order: textures; ``harmonics`` is None where no object has any.
        count: Gaussians to draw, from the start of ``order``.
        views: [objects, 4, 4] view_from_object.
        shown: which of the objects are drawn.
        near, far: range of the depth mode.
    """

    splats: Any
    harmonics: Any
    order: Any
    count: int
    views: NDArray[np.float32]
    shown: tuple[bool, ...]
    near: float = 0.0
    far: float = 1.0


def texture(values: NDArray[np.float32], form: str) -> Any:
    """A texture of [H, W] or [H, W, 4] float32; the array's memory is handed over, not copied."""
    flat = np.ascontiguousarray(values, np.float32).reshape(-1)
    return gpu.types.GPUTexture((values.shape[1], values.shape[0]), format=form,
                                data=gpu.types.Buffer("FLOAT", flat.size, flat))


def owner_texels(views: NDArray[np.float32], shown: tuple[bool, ...], perspective: bool) -> NDArray[np.float32]:
    """[objects, 4, 4]: the first three rows of each view_from_object, then the eye (perspective) or the viewing
    direction in the object's space, with 1 for an object that is drawn."""
    texels = np.zeros((len(views), 4, 4), np.float32)
    texels[:, :3] = views[:, :3]
    for number, view in enumerate(views):
        if shown[number] and abs(np.linalg.det(view[:3, :3])) > 0.0:
            inverse = np.linalg.inv(view.astype(np.float64))
            texels[number, 3] = (*(inverse[:3, 3] if perspective else -inverse[:3, 2]), 1.0)
    return texels


class SplatPainter:
    """Both shaders and the buffer between them."""

    def __init__(self) -> None:
        self._splats, self._composite = splat_shader(), composite_shader()
        self._quad = batch_for_shader(self._splats, "TRI_STRIP", {"corner": CORNERS})
        self._screen = batch_for_shader(self._composite, "TRI_STRIP", {"corner": CORNERS})
        self._no_harmonics = texture(np.zeros((1, 4), np.float32), "R32F")
        self._buffers: dict[tuple[int, int], tuple[Any, Any]] = {}

    def paint(self, picture: Picture, projection: NDArray[np.float32], size: tuple[int, int], scene_depth: Any,
              look: Look) -> None:
        """Draw Gaussians into the bound framebuffer, hidden by what is nearer in it.

        Args:
            picture: what to draw.
            projection: [4, 4] window matrix.
            size: of the viewport, pixels.
            scene_depth: texture of the window depth that is there already.
            look: how.
        """
        image, buffer = self._buffer_of(size)
        with buffer.bind():
            buffer.clear(color=(0.0, 0.0, 0.0, 0.0))
            gpu.state.blend_set("ALPHA_PREMULT")
            gpu.state.depth_test_set("NONE")
            self._draw(picture, projection, size, scene_depth, look)
        gpu.state.blend_set("ALPHA_PREMULT")
        self._composite.bind()
        self._composite.uniform_sampler("splat_image", image)
        self._screen.draw(self._composite)
        gpu.state.blend_set("NONE")

    def _buffer_of(self, size: tuple[int, int]) -> tuple[Any, Any]:
        """The picture and its framebuffer of a size; several 3D views may have one each."""
        if size not in self._buffers:
            if len(self._buffers) >= MOST_BUFFERS:
                self._buffers.clear()
            # No GPUOffScreen: making one unbinds the framebuffer that is drawn into.
            image = gpu.types.GPUTexture(size, format="RGBA16F")
            self._buffers[size] = image, gpu.types.GPUFrameBuffer(color_slots=[image])
        return self._buffers[size]

    def _draw(self, picture: Picture, projection: NDArray[np.float32], size: tuple[int, int], scene_depth: Any,
              look: Look) -> None:
        width, height = size
        degree = 0 if picture.harmonics is None else 3
        values = np.concatenate([
            projection.T.reshape(-1),
            (width, height, projection[0, 0] * width / 2, projection[1, 1] * height / 2),
            (look.opacity, look.size, MODES.index(look.mode), degree),
            (picture.near, max(picture.far, picture.near + 1e-6), 0.0, 0.0)]).astype(np.float32)
        block = gpu.types.GPUUniformBuf(gpu.types.Buffer("FLOAT", values.size, values))
        owners = texture(owner_texels(picture.views, picture.shown, bool(projection[3, 3] == 0.0)), "RGBA32F")
        self._splats.bind()
        self._splats.uniform_block("view", block)
        samplers = (picture.splats, picture.harmonics or self._no_harmonics, owners, picture.order, scene_depth)
        for name, sampled in zip(SPLAT_SAMPLERS, samplers, strict=True):
            self._splats.uniform_sampler(name, sampled)
        self._quad.draw_instanced(self._splats, instance_count=picture.count)


class SceneDepth:
    """The depth of what is in the bound framebuffer already, as a texture."""

    def __init__(self) -> None:
        self._read = np.zeros((1, 1), np.float32)
        self._nothing: Any = None

    def read(self, size: tuple[int, int]) -> Any:
        """Copy the bound framebuffer's depth within the viewport; everything far where it cannot be read."""
        if self._read.shape != (size[1], size[0]):
            self._read = np.zeros((size[1], size[0]), np.float32)
        x, y, _, _ = gpu.state.viewport_get()
        gpu.state.active_framebuffer_get().read_depth(
            x, y, *size, data=gpu.types.Buffer("FLOAT", (size[1], size[0]), self._read))
        if not self._read.any():
            self._read[:] = 1.0  # 4.3's experimental Vulkan reads zeros
        return texture(self._read, "R32F")

    def nothing(self, size: tuple[int, int]) -> Any:
        """The depth of an empty view: no need to wait for the GPU."""
        if self._nothing is None or (self._nothing.width, self._nothing.height) != size:
            self._nothing = texture(np.ones((size[1], size[0]), np.float32), "R32F")
        return self._nothing
