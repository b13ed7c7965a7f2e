# SPDX-License-Identifier: GPL-3.0-or-later
"""Pixels of a capture: safe opening, EXIF turn, undistortion, masks, resizing.  Needs Pillow, OpenCV and pycolmap."""
