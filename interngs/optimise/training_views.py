# SPDX-License-Identifier: GPL-3.0-or-later
"""The photographs as the optimiser takes them: made for the device one by one, the next one while a step runs."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..geometry.prior import Geometry
from ..scene.capture import Capture

FULL_CONFIDENCE = 10.0
"""Confidence from which a depth pixel has full weight (DUSt3R's convention)."""
KEPT_BYTES = 2 << 30
"""As much of the views is kept ready on the device; of more, those that were used last."""


@dataclass(frozen=True)
class TrainingView:
    """A photograph and its geometry as tensors on the device.

    Attributes:
        image: [H, W, 3] float32 sRGB in 0..1.
        mask, alpha: [H, W] float32 in 0..1, or None for everywhere.
        K: [3, 3] px.
        camera_from_world: [4, 4].
        inverse_depth: [H, W] float32, 0 where unknown.
        depth_weight: [H, W] float32 in 0..1, say of ``inverse_depth``.
    """

    image: Tensor
    mask: Tensor | None
    alpha: Tensor | None
    K: Tensor
    camera_from_world: Tensor
    inverse_depth: Tensor
    depth_weight: Tensor


class TrainingViews:
    """The training views of a capture, by number.

    Pixels stay where the capture and the geometry have them (in memory, or in files that are mapped into it); up to
    ``KEPT_BYTES`` of float32 tensors are kept, so that small captures are made once and large ones stream.
    """

    def __init__(self, capture: Capture, geometry: Geometry, device: torch.device,
                 kept_bytes: int = KEPT_BYTES) -> None:
        self._capture, self._geometry, self._device, self._kept_bytes = capture, geometry, device, kept_bytes
        self.cameras = [view.camera for view in geometry.views]
        self._poses = [torch.tensor(camera.camera_from_world, dtype=torch.float32, device=device)
                       for camera in self.cameras]
        self._ready: OrderedDict[int, TrainingView] = OrderedDict()
        self._ready_bytes = 0
        self._coming: dict[int, Future[TrainingView]] = {}
        self._maker = ThreadPoolExecutor(1, "next-view")

    def __len__(self) -> int:
        return len(self.cameras)

    def __getitem__(self, index: int) -> TrainingView:
        """View ``index``, made now unless it is ready or on its way."""
        if index in self._ready:
            self._ready.move_to_end(index)
            return self._ready[index]
        coming = self._coming.pop(index, None)
        view = self._make(index) if coming is None else coming.result()
        self._ready[index] = view
        self._ready_bytes += _bytes_of(view)
        while self._ready_bytes > self._kept_bytes and len(self._ready) > 1:
            self._ready_bytes -= _bytes_of(self._ready.popitem(last=False)[1])
        return view

    def expect(self, index: int) -> None:
        """View ``index`` is wanted next: make it ready in the background."""
        if index not in self._ready and index not in self._coming:
            self._coming[index] = self._maker.submit(self._make, index)

    def camera_from_world(self, index: int) -> Tensor:
        """[4, 4] float32 pose of view ``index``; needs no pixels."""
        return self._poses[index]

    def _make(self, index: int) -> TrainingView:
        view, shape = self._capture.views[index], self._geometry.views[index]
        mask, alpha = (None if pixels is None else self._tensor(pixels) for pixels in (view.mask, view.alpha))
        known = (shape.depth > 0) & (shape.confidence > 0)
        inverse_depth = np.where(known, 1.0 / np.where(known, shape.depth, 1.0), 0.0).astype(np.float32)
        # A guess (confidence 1) has no say: wrong guesses pull harder than right ones help.
        trust = np.clip((shape.confidence - 1.0) / (FULL_CONFIDENCE - 1.0), 0.0, 1.0)
        weight = np.where(known, trust, 0.0).astype(np.float32)
        K = torch.tensor(shape.camera.K, dtype=torch.float32, device=self._device)
        return TrainingView(self._tensor(view.image), mask, alpha, K, self._poses[index], self._tensor(inverse_depth),
                            self._tensor(weight))

    def _tensor(self, pixels: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(pixels)).to(self._device)


def _bytes_of(view: TrainingView) -> int:
    tensors = (view.image, view.mask, view.alpha, view.inverse_depth, view.depth_weight)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)
