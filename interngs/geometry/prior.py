# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract of a geometry: views in; dense depth, confidence and cameras out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..scene.cameras import Camera
from ..scene.capture import Capture

GUESS_BELOW = 1.5
"""Depth below this confidence is a guess."""
ReportProgress = Callable[[int, int], None]
"""Called as ``report(steps_done, steps_total)``; may raise to stop the work."""


@dataclass(frozen=True, eq=False)
class ViewGeometry:
    """Dense geometry of one view, at the view's own image size.

    Attributes:
        camera: the camera the depth belongs to (the given one, or the estimated one).
        depth: [H, W] float32 z-depth in world units; 0 where nothing is known.
        confidence: [H, W] float32; 0 where the depth must not be trusted at all, else in DUSt3R's
            convention: 1 is a guess, 3 and above are good, 10 and above are certain.
    """

    camera: Camera
    depth: NDArray[np.float32]
    confidence: NDArray[np.float32]

    def pointmap(self) -> NDArray[np.float64]:
        """[H, W, 3] world points of the pixels (meaningless where ``depth`` is 0)."""
        return self.camera.unproject(self.depth)


@dataclass(frozen=True, eq=False)
class Geometry:
    """Dense geometry of a capture, one entry per view in the capture's order.

    Attributes:
        method: which geometry made it (``"plane-sweep"``, ``"dust3r"``, ``"given-depth"``).
        report: facts and figures for the result's report (JSON-ready).
        warnings: sentences for the artist.
    """

    views: tuple[ViewGeometry, ...]
    method: str
    report: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class GeometryPrior(Protocol):
    """A way to get dense geometry from a capture."""

    name: str

    def estimate(self, capture: Capture, report_progress: ReportProgress) -> Geometry:
        """Dense geometry of every view of ``capture``.

        Raises:
            InputError: when the capture does not allow this geometry (poses missing, no overlap).
        """
        ...
