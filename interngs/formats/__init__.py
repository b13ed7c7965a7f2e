# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of splats and of captures, read and written with numpy and the standard library; part of the extension."""
