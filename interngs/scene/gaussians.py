# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a splat: N raw (not activated) Gaussians."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SH_C0 = 0.28209479177387814
"""Value of the constant spherical harmonic; colour = 0.5 + SH_C0 * sh[:, 0]."""

COEFFICIENTS_OF_DEGREE = (1, 4, 9, 16, 25)


@dataclass(frozen=True, eq=False)
class Gaussians:
    """N Gaussians in world units, float32, as they are optimised and stored in 3DGS PLY files.

    Attributes:
        means: [N, 3] centres, world units.
        quats: [N, 4] rotation world_from_gaussian, wxyz, unit length.
        log_scales: [N, 3] natural log of the standard deviations (world units).
        opacity_logits: [N] logit of the opacity.
        sh: [N, K, 3] spherical-harmonic coefficients of sRGB colour, K = (degree + 1)^2.
    """

    means: NDArray[np.float32]
    quats: NDArray[np.float32]
    log_scales: NDArray[np.float32]
    opacity_logits: NDArray[np.float32]
    sh: NDArray[np.float32]

    def __post_init__(self) -> None:
        n = len(self.means)
        expected = {"means": (n, 3), "quats": (n, 4), "log_scales": (n, 3), "opacity_logits": (n,)}
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, expected {shape}")
        shape = self.sh.shape
        if len(shape) != 3 or shape[0] != n or shape[1] not in COEFFICIENTS_OF_DEGREE or shape[2] != 3:
            raise ValueError(f"sh has shape {self.sh.shape}, expected [{n}, 1|4|9|16|25, 3]")

    def __len__(self) -> int:
        return len(self.means)

    @property
    def sh_degree(self) -> int:
        """Spherical-harmonic degree, 0..4."""
        return COEFFICIENTS_OF_DEGREE.index(self.sh.shape[1])

    @property
    def opacities(self) -> NDArray[np.float32]:
        """[N] activated opacity in 0..1."""
        return np.float32(1.0) / (np.float32(1.0) + np.exp(-self.opacity_logits))

    @property
    def scales(self) -> NDArray[np.float32]:
        """[N, 3] standard deviations, world units."""
        return np.exp(self.log_scales)

    @property
    def base_colours(self) -> NDArray[np.float32]:
        """[N, 3] view-independent sRGB colour (not clipped)."""
        return 0.5 + SH_C0 * self.sh[:, 0]

    def select(self, index: NDArray[np.bool_] | NDArray[np.integer]) -> Gaussians:
        """The Gaussians picked by a mask [N] or by indices, in that order."""
        return Gaussians(self.means[index], self.quats[index], self.log_scales[index],
                         self.opacity_logits[index], self.sh[index])

    def with_sh_degree(self, degree: int) -> Gaussians:
        """The same Gaussians with their SH cut, or padded with zeros, to ``degree``."""
        wanted = COEFFICIENTS_OF_DEGREE[degree]
        sh = np.zeros((len(self), wanted, 3), np.float32)
        kept = min(wanted, self.sh.shape[1])
        sh[:, :kept] = self.sh[:, :kept]
        return Gaussians(self.means, self.quats, self.log_scales, self.opacity_logits, sh)


def concatenate(parts: list[Gaussians]) -> Gaussians:
    """All Gaussians of ``parts`` in order; SH padded to the highest degree among them."""
    degree = max(part.sh_degree for part in parts)
    padded = [part.with_sh_degree(degree) for part in parts]
    return Gaussians(*(np.concatenate([getattr(part, name) for part in padded])
                       for name in ("means", "quats", "log_scales", "opacity_logits", "sh")))
