# SPDX-License-Identifier: GPL-3.0-or-later
"""What pretrained models know: their files, depth, appearance."""
