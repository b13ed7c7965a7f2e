# SPDX-License-Identifier: GPL-3.0-or-later
"""Where points come from: every way from a capture to dense points, and from points to first Gaussians."""
