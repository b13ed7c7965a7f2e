# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain records of a scene: cameras, captures, Gaussians.  numpy only; shipped inside the extension."""
