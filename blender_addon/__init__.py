# SPDX-License-Identifier: GPL-3.0-or-later
"""The Intern-GS add-on.  Imports its modules when it is registered: those without bpy are used outside Blender too."""

from importlib import import_module
from types import ModuleType

MODULES = ("preferences", "properties", "ops.registration", "ui.registration", "session.session", "finishing",
           "rendering", "draw.preview")
"""In the order in which they are registered; each has ``register`` and ``unregister``."""

_registered: list[ModuleType] = []


def register() -> None:
    """Register every class, property, handler and timer; a failure undoes what was done."""
    try:
        for name in MODULES:
            module = import_module(f".{name}", __package__)
            module.register()
            _registered.append(module)
    except BaseException:
        unregister()
        raise


def unregister() -> None:
    """Undo ``register``, in reverse; ends the session first."""
    while _registered:
        _registered.pop().unregister()
