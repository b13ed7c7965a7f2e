# SPDX-License-Identifier: GPL-3.0-or-later
"""True Gaussians in the viewport, wherever Blender does not draw splats itself."""
