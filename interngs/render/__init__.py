# SPDX-License-Identifier: GPL-3.0-or-later
"""Differentiable rendering of Gaussians: one front, gsplat on CUDA, own kernels on the CPU."""
