# SPDX-License-Identifier: GPL-3.0-or-later
"""DUSt3R: pair pointmaps from a vision transformer, and what makes cameras and depth of them."""
