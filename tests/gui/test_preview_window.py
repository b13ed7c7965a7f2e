# SPDX-License-Identifier: GPL-3.0-or-later
"""The preview in a real window: colour, meshes before and behind, hiding, undo, reload, and the main thread's time.

``INTERNGS_FERN_SPLAT`` names a PLY of fern; without it a small one is reconstructed, in some minutes without a GPU.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.gui, pytest.mark.timeout(2400)]
ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("INTERNGS_SHARED", ROOT.parent / "shared"))
MAIN_THREAD_MS = 10.0


@pytest.fixture(scope="session")
def fern_splat(tmp_path_factory):
    given, kept = os.environ.get("INTERNGS_FERN_SPLAT"), ROOT / "out" / "gui" / "fern.ply"
    if given:
        return Path(given)
    if not kept.exists():
        capture = SHARED / "data" / "llff_fern"
        if not capture.exists():
            pytest.skip(f"needs a splat of fern: INTERNGS_FERN_SPLAT, or photographs in {capture}")
        folder = tmp_path_factory.mktemp("fern")
        subprocess.run([sys.executable, "-m", "interngs.cli", "reconstruct", str(capture), "-o", str(folder),
                        "--views", "0", "9", "19", "--max-side-px", "320", "--steps", "100"], cwd=ROOT,
                       check=True, timeout=1200)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "result.ply", kept)
    return kept


@pytest.mark.parametrize("graphics", ["opengl", "vulkan"])
def test_fern_beside_a_mesh_that_cuts_it(window, fern_splat, graphics):
    result = window("view.py", f"/w/{fern_splat.name}", options=("--gpu-backend", graphics), files=[fern_splat])
    if graphics == "vulkan" and result["blender"] < "4.5":
        pytest.skip("Vulkan is experimental in this Blender; look at the pictures")
    assert np.abs(np.subtract(result["colour"], (127, 64, 191))).max() <= 2
    background = result["deleted"]
    assert np.ptp(background) < 3 and np.abs(np.subtract(result["hidden"], background)).max() < 3
    # More of the cube is seen the nearer it stands; it fills the same part of the picture each time.
    assert result["red_behind"] < 0.97 * result["red_within"] and result["red_within"] < 0.99 * result["red_before"]
    assert result["after_delete"] > 5 and result["after_undo"] < 1 and result["after_reload"] < 1
    assert np.median(result["picture_ms"]) < MAIN_THREAD_MS
    assert result["error"] is None
