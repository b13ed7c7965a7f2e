# SPDX-License-Identifier: GPL-3.0-or-later
"""Thread pools of numeric libraries that behave on a busy machine."""

from __future__ import annotations

import os
from collections.abc import MutableMapping


def calm_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Ask torch's threads to sleep while they wait, and numpy's BLAS to use one thread only.

    ``environment`` is this process's own (before numpy and torch are imported), or that of a process to be started.

    Threads that spin starve whatever else runs (on a loaded machine a product of small matrices took a second in
    place of a millisecond); this project's matrix products in numpy are too small to gain from several.  What the
    environment says already is left as it is.
    """
    environment.setdefault("OMP_WAIT_POLICY", "passive")
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
