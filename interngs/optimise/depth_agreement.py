# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a predicted depth map may be believed: agreement with stereo depth, per view and per pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

MIN_EVIDENCE_SHARE = 0.01
"""Share of pixels with trusted stereo depth below which nothing can be checked, so nothing is admitted."""
NO_SAY, FULL_SAY = 0.75, 0.95
"""Correlation with stereo inverse depth up to which a view's prediction is ignored, and from which it counts whole."""
TOLERANCE = 0.5
"""Misfit, in standard deviations of the stereo inverse depth, at which a pixel has lost 2/3 of its say."""
REACH = 1 / 32
"""How far one checked pixel speaks for its neighbours, as a share of the image's longer side."""
DOUBT_FAR_OFF = 0.02
"""Weight of the view's own mean against checked neighbours: what is left to say where none is near."""
FIT_ROUNDS = 6


@dataclass(frozen=True, eq=False)
class Agreement:
    """Outcome of a check.

    Attributes:
        correlation: weighted Pearson correlation with the stereo inverse depth; ``None`` without evidence.
        strength: 0..1, the view's say as a whole.
        weight: [H, W] float32 0..1, the pixels' say; 0 everywhere when ``strength`` is 0.
    """

    correlation: float | None
    strength: float
    weight: NDArray[np.float32]


def check_agreement(predicted: NDArray[np.float32], inverse_depth: NDArray[np.float32],
                    trust: NDArray[np.float32]) -> Agreement:
    """Compare a prediction with stereo depth, up to the scale and shift that it leaves open.

    A robust line (Cauchy weights) brings the prediction to the stereo depth's scale; a pixel's say falls
    with its misfit, and pixels without stereo depth take the say of those around them.  A prediction that
    runs against the stereo depth, or hardly with it, has none at all.

    Args:
        predicted: [H, W] relative inverse depth, finite, larger is nearer.
        inverse_depth: [H, W] of the stereo geometry; any value where ``trust`` is 0.
        trust: [H, W] >= 0, how sure that is.
    """
    none = np.zeros(predicted.shape, np.float32)
    checked = trust > 0
    if checked.mean() < MIN_EVIDENCE_SHARE:
        return Agreement(None, 0.0, none)
    m, s, w = (values[checked].astype(np.float64) for values in (predicted, inverse_depth, trust))
    correlation = _correlation(m, s, w)
    scale, shift, spread = _robust_line(m, s, w)
    strength = float(np.clip((correlation - NO_SAY) / (FULL_SAY - NO_SAY), 0.0, 1.0))
    if strength <= 0 or scale <= 0 or spread <= 0:
        return Agreement(correlation, 0.0, none)
    say = np.exp(-(((scale * m + shift - s) / (TOLERANCE * spread)) ** 2))
    evidence, agreed = none.copy(), none.copy()
    evidence[checked] = w / w.max()
    agreed[checked] = say * evidence[checked]
    sigma = max(REACH * max(predicted.shape), 1.0)
    around, agreed_around = (cv2.GaussianBlur(values, (0, 0), sigma) for values in (evidence, agreed))
    mean = float(np.average(say, weights=w))
    weight = (agreed_around + DOUBT_FAR_OFF * mean) / (around + DOUBT_FAR_OFF)
    return Agreement(correlation, strength, np.clip(weight, 0.0, 1.0).astype(np.float32))


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64], w: NDArray[np.float64]) -> float:
    a, b = (values - np.average(values, weights=w) for values in (a, b))
    spread = np.sqrt(np.sum(w * a * a) * np.sum(w * b * b))
    return float(np.sum(w * a * b) / spread) if spread > 0 else 0.0


def _robust_line(m: NDArray[np.float64], s: NDArray[np.float64], w: NDArray[np.float64]) -> tuple[float, float, float]:
    """Scale and shift of the line from ``m`` to ``s``, and the standard deviation of ``s``."""
    spread = float(np.sqrt(np.average((s - np.average(s, weights=w)) ** 2, weights=w)))
    scale, shift, weights = 0.0, 0.0, w
    for _ in range(FIT_ROUNDS):
        mean_m, mean_s = np.average(m, weights=weights), np.average(s, weights=weights)
        variance = np.average((m - mean_m) ** 2, weights=weights)
        if variance <= 0:
            return 0.0, float(mean_s), spread
        scale = float(np.average((m - mean_m) * (s - mean_s), weights=weights) / variance)
        shift = float(mean_s - scale * mean_m)
        misfit = (scale * m + shift - s) / max(TOLERANCE * spread, 1e-30)
        weights = w / (1.0 + misfit**2)
    return scale, shift, spread
