# SPDX-License-Identifier: GPL-3.0-or-later
"""The Intern-GS add-on: registers its modules in order; Blender is imported only here and below."""


def register() -> None:
    """Register every class, property, handler and timer."""


def unregister() -> None:
    """Undo ``register``, in reverse, and end the session."""
