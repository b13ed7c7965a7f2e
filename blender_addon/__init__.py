# SPDX-License-Identifier: GPL-3.0-or-later
"""The Intern-GS add-on: registers its modules in order; Blender is imported only here and below."""

from . import properties

MODULES = (properties,)


def register() -> None:
    """Register every class, property, handler and timer; a failure undoes what was done."""
    done = []
    try:
        for module in MODULES:
            module.register()
            done.append(module)
    except BaseException:
        for module in reversed(done):
            module.unregister()
        raise


def unregister() -> None:
    """Undo ``register``, in reverse, and end the session."""
    for module in reversed(MODULES):
        module.unregister()
