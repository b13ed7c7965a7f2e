# SPDX-License-Identifier: GPL-3.0-or-later
"""Thread pools of numeric libraries that behave on a busy machine."""

from __future__ import annotations

import os


def calm_threads() -> None:
    """Ask torch's threads to sleep while they wait, and numpy's BLAS to use one thread only.

    Threads that spin starve whatever else runs (on a loaded machine a product of small matrices took a second in
    place of a millisecond); this project's matrix products in numpy are too small to gain from several.  Must be
    called before numpy and torch are imported; what the environment says already is left as it is.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
