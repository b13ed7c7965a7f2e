# SPDX-License-Identifier: GPL-3.0-or-later
"""How much brighter one photo of a scene is than another, from the points that both show."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..scene.capture import View
from .sparse_matches import SparseMatches

MIN_POINTS = 8
DARKEST, BRIGHTEST = 0.04, 0.96
"""Values outside are clipped or noise and say nothing of exposure."""
LARGEST_GAIN = 3.0


def exposure_gains(views: list[View], matches: list[SparseMatches]) -> NDArray[np.float32]:
    """[N, 3] factor per view and channel that brings the sRGB values of all views to a common brightness.

    Least squares over the logarithms of the pairs' median ratios; views without matches keep a gain of one.
    """
    count = len(views)
    colours = _matched_colours(views, matches)
    rows, values = [np.full((1, count), 1e-3), 1e-3 * np.eye(count)], [np.zeros((1, 3)), np.zeros((count, 3))]
    for match in matches:
        ratio = _log_ratio([colours[index, match.first, match.second] for index in (match.first, match.second)])
        if ratio is None:
            continue
        row = np.zeros((1, count))
        row[0, match.first], row[0, match.second] = 1.0, -1.0
        weight = np.sqrt(min(len(match.points), 100))
        rows.append(weight * row)
        values.append(weight * ratio[None])
    solution = np.linalg.lstsq(np.concatenate(rows), np.concatenate(values), rcond=None)[0]
    limit = np.log(LARGEST_GAIN)
    return np.exp(np.clip(solution - solution.mean(axis=0), -limit, limit)).astype(np.float32)


def _matched_colours(views: list[View], matches: list[SparseMatches],
                     ) -> dict[tuple[int, int, int], NDArray[np.float32]]:
    """[N, 3] colours of the points of each match, by (view, first, second); one blurred photo in memory at a time."""
    found = {}
    for index, view in enumerate(views):
        own = [match for match in matches if index in (match.first, match.second)]
        if not own:
            continue
        blurred = np.asarray(cv2.GaussianBlur(view.image, (0, 0), 1.5), np.float32)
        for match in own:
            pixels, _ = view.posed_camera.project(match.points)
            maps = (pixels - 0.5).astype(np.float32)
            found[index, match.first, match.second] = np.asarray(cv2.remap(
                blurred, maps[None, :, 0], maps[None, :, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))[0]
    return found


def _log_ratio(colours: list[NDArray[np.float32]]) -> NDArray[np.float64] | None:
    """[3] median of log(second / first) over the matched points; ``None`` with too few of them."""
    usable = np.all([(c > DARKEST) & (c < BRIGHTEST) for c in colours], axis=(0, 2))
    if usable.sum() < MIN_POINTS:
        return None
    return np.asarray(np.median(np.log(colours[1][usable] / colours[0][usable]), axis=0), np.float64)
