# SPDX-License-Identifier: GPL-3.0-or-later
"""Root of the Blender extension.  Imports lazily: test runners import this file outside Blender, too."""


def register() -> None:
    """Called by Blender when the extension is enabled."""
    from . import blender_addon  # noqa: PLC0415

    blender_addon.register()


def unregister() -> None:
    """Called by Blender when the extension is disabled."""
    from . import blender_addon  # noqa: PLC0415

    blender_addon.unregister()
