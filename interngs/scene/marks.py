# SPDX-License-Identifier: GPL-3.0-or-later
"""Marks the Gaussians that single filters would remove, fast enough to follow a slider; removes nothing itself.

What a filter judges by is measured once; a new threshold is then one comparison.  ``clean.clean`` runs its filters one
after the other, each on what the earlier ones left; here each judges the whole splat, so the counts do not depend on
which other filters are on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .cameras import Camera
from .clean import (
    Mask,
    free_space_depth,
    inside_box,
    inside_camera_hull,
    inside_sphere,
    isolation_of,
    needle_ratios,
    scene_extent,
    view_counts,
)

FilterName = Literal["box", "sphere", "opacity", "size", "needles", "isolated", "support", "hull", "depth"]
FILTERS: tuple[FilterName, ...] = ("box", "sphere", "opacity", "size", "needles", "isolated", "support", "hull",
                                   "depth")
"""In the order in which a Gaussian that several filters mark is shown."""


@dataclass(frozen=True, eq=False)
class Region:
    """A crop: a box (its own frame the cube -1..1) or an ellipsoid (the unit ball).

    Attributes:
        splat_from_region: [4, 4] from the region's own frame to the splat's.
        keep_inside: whether what lies inside stays, or what lies outside.
    """

    splat_from_region: NDArray[np.float64]
    keep_inside: bool = True


@dataclass(frozen=True, eq=False)
class Thresholds:
    """What the filters mark; ``None`` switches a filter off."""

    box: Region | None = None
    sphere: Region | None = None
    min_opacity: float | None = None
    """Fainter Gaussians (0..1)."""
    max_relative_size: float | None = None
    """Those whose largest standard deviation exceeds this share of the scene extent."""
    max_needle: float | None = None
    """Those whose longest axis exceeds the middle one by more than this factor."""
    max_isolation: float | None = None
    """Those farther from their neighbours than these among themselves, by more than this factor."""
    max_sparsity: float | None = None
    """Those more than this many robust standard deviations farther from their neighbours than the median."""
    min_views: int | None = None
    """Those whose centre fewer training cameras have in their frame."""
    max_hull_reach: float | None = None
    """Those outside the camera hull (see ``clean.inside_camera_hull``)."""
    max_before_surface: float | None = None
    """Those that lie before a captured surface by more than this share of its depth."""


@dataclass(frozen=True, eq=False)
class Marks:
    """What the filters found.

    Attributes:
        masks: [N] for each filter that is on: the Gaussians that it would remove.
        first: [N] uint8, 1 + the place in ``FILTERS`` of the first filter that marks a Gaussian; 0 for those that stay.
    """

    masks: dict[FilterName, Mask]
    first: NDArray[np.uint8]

    @property
    def counts(self) -> dict[FilterName, int]:
        """How many each filter marks, on its own."""
        return {name: int(np.count_nonzero(mask)) for name, mask in self.masks.items()}

    @property
    def kept(self) -> Mask:
        """[N] what no filter marks."""
        return self.first == 0

    @property
    def removed(self) -> int:
        """How many some filter marks."""
        return int(np.count_nonzero(self.first))


class Measures:
    """A splat's Gaussians and what filters judge them by, measured when first asked for.

    Args:
        means: [N, 3] centres in the splat's own space.
        scales: [N, 3] standard deviations, in the same unit.
        opacities: [N] in 0..1.
        cameras: training cameras.
        depths: cameras with their exact z-depth maps [H, W], 0 where unknown.
        cameras_from_splat: [4, 4] affine, from the splat's space to that of the cameras; identity when ``None``.
    """

    def __init__(self, means: NDArray[np.float32], scales: NDArray[np.float32], opacities: NDArray[np.float32],
                 cameras: Sequence[Camera] = (), depths: Sequence[tuple[Camera, NDArray[np.floating]]] = (),
                 cameras_from_splat: NDArray[np.float64] | None = None) -> None:
        self.means, self._scales, self.opacities = means, scales, opacities
        self.cameras, self._depths = tuple(cameras), tuple(depths)
        self._cameras_from_splat = cameras_from_splat
        self._hull: tuple[float, Mask] | None = None

    def __len__(self) -> int:
        return len(self.means)

    @cached_property
    def relative_sizes(self) -> NDArray[np.float32]:
        """[N] largest standard deviation as a share of the scene extent."""
        return (self._scales.max(axis=1, initial=0) / np.float32(scene_extent(self.means))).astype(np.float32)

    @cached_property
    def needles(self) -> NDArray[np.floating]:
        """[N] longest over middle standard deviation."""
        return needle_ratios(np.log(np.maximum(self._scales, np.finfo(np.float32).tiny)))

    @cached_property
    def isolation(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See ``clean.isolation_of``."""
        return isolation_of(self.means)

    @cached_property
    def before_cameras(self) -> NDArray[np.float64]:
        """[N, 3] centres in the space of the cameras."""
        matrix = np.eye(4) if self._cameras_from_splat is None else self._cameras_from_splat
        return self.means @ matrix[:3, :3].T + matrix[:3, 3]

    @cached_property
    def views(self) -> NDArray[np.int32]:
        """[N] how many training cameras have the centre in their frame."""
        self._need(self.cameras, "training cameras")
        return view_counts(self.before_cameras, self.cameras)

    @cached_property
    def before_surface(self) -> NDArray[np.float32]:
        """See ``clean.free_space_depth``."""
        self._need(self._depths, "captured depth maps")
        return free_space_depth(self.before_cameras, self._depths)

    def in_hull(self, reach: float) -> Mask:
        """[N] inside the camera hull; the newest ``reach`` is remembered."""
        if self._hull is None or self._hull[0] != reach:
            self._need(self.cameras, "training cameras")
            self._hull = reach, inside_camera_hull(self.before_cameras, self.cameras, reach)
        return self._hull[1]

    @staticmethod
    def _need(given: Sequence[object], words: str) -> None:
        if not given:
            raise InputError("clean-no-cameras", f"This filter needs {words}, and there are none.",
                             "Give the scene the photographs' cameras, or switch the filter off.")


def mark(measures: Measures, thresholds: Thresholds) -> Marks:
    """Mark what each filter that is switched on would remove; a value that is no number is always marked by it.

    Raises:
        InputError: a crop is flat, or a filter lacks cameras or depth maps.
    """
    t, masks = thresholds, dict[FilterName, Mask]()
    if t.box is not None:
        masks["box"] = inside_box(measures.means, t.box.splat_from_region) != t.box.keep_inside
    if t.sphere is not None:
        masks["sphere"] = inside_sphere(measures.means, t.sphere.splat_from_region) != t.sphere.keep_inside
    if t.min_opacity is not None:
        masks["opacity"] = ~(measures.opacities >= t.min_opacity)
    if t.max_relative_size is not None:
        masks["size"] = ~(measures.relative_sizes <= t.max_relative_size)
    if t.max_needle is not None:
        masks["needles"] = ~(measures.needles <= t.max_needle)
    if t.max_isolation is not None or t.max_sparsity is not None:
        isolation, deviations = measures.isolation
        masks["isolated"] = np.zeros(len(measures), bool)
        if t.max_isolation is not None:
            masks["isolated"] |= ~(isolation <= t.max_isolation)
        if t.max_sparsity is not None:
            masks["isolated"] |= ~(deviations <= t.max_sparsity)
    if t.min_views is not None:
        masks["support"] = measures.views < t.min_views
    if t.max_hull_reach is not None:
        masks["hull"] = ~measures.in_hull(t.max_hull_reach)
    if t.max_before_surface is not None:
        masks["depth"] = measures.before_surface > t.max_before_surface
    first = np.zeros(len(measures), np.uint8)
    for name in reversed(FILTERS):
        if name in masks:
            first[masks[name]] = 1 + FILTERS.index(name)
    return Marks(masks, first)
