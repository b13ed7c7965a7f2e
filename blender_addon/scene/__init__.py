# SPDX-License-Identifier: GPL-3.0-or-later
"""What the add-on does with Blender's scene: cameras, captures, the splat object."""
