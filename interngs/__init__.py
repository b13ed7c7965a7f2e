# SPDX-License-Identifier: GPL-3.0-or-later
"""Intern-GS: a handful of photos to 3D Gaussians.  Imports nothing: Blender executes this file."""

__version__ = "0.1.0"
