# SPDX-License-Identifier: GPL-3.0-or-later
"""The README's pictures: the example reconstructed in a real window by the real pipeline, cleaned and compared.

They are in ``out/gui``, to be looked at; ``docs/images`` has them as JPEG.
"""

from pathlib import Path

import pytest

pytestmark = [pytest.mark.gui, pytest.mark.timeout(2700)]
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "chess_table"
WINDOW = ("--gpu-backend", "opengl", "--window-geometry", "0", "0", "1400", "900")


def test_the_example_from_photographs_to_a_clean_splat(window, real_backend):
    result = window("pictures.py", "train", real_backend, "/w/chess_table/transforms.json", options=WINDOW,
                    files=(EXAMPLE,), timeout_s=1300)
    assert result["shown_step"] >= 90
    blend = window.kept / "chess_table.blend"
    pictures = {each.name: each.read_bytes() for each in window.kept.glob("*.png")}
    assert {"running.png", "result.png"} <= set(pictures)
    result = window("pictures.py", "finish", "/w/chess_table.blend", "/w/chess_table/images", options=WINDOW,
                    files=(blend, EXAMPLE), timeout_s=600)
    for name, data in pictures.items():
        (window.kept / name).write_bytes(data)
    assert result["marked"] > 0
