# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension's own package name, which Blender chooses (``bl_ext.<repository>.intern_gs``)."""

from __future__ import annotations

ROOT = __package__.rpartition(".")[0]
"""The root package: the id of the add-on's preferences."""
