# SPDX-License-Identifier: GPL-3.0-or-later
"""From first Gaussians to finished ones: the optimiser, its losses, pseudo views, growth and checkpoints."""
