# SPDX-License-Identifier: GPL-3.0-or-later
"""The report page: one file, held-out photographs first, pictures that can be read, text that cannot break it."""

import base64
import io
import re

import numpy as np
from PIL import Image


def compared(addon_module, name, held_out, error):
    photo = np.full((6, 8, 3), 0.5, np.float32)
    photo[0, 0] = (1, 0, 0)
    return addon_module("blender_addon.scene.report_page").Compared(
        name, held_out, photo, photo - np.float32(error), np.ones((6, 8), bool))


def test_the_page(addon_module):
    page = addon_module("blender_addon.scene.report_page").report_page(
        "fern <b>", [compared(addon_module, "a", False, 0.01), compared(addon_module, "b & c", True, 0.1)],
        [("Gaussians", "1,000"), ("Warning", "<script>")], "A note.")
    assert "fern &lt;b&gt;" in page and "<script>" not in page and "b &amp; c" in page
    assert page.index("b &amp; c") < page.index("<h3>a "), "held-out photographs come first"
    assert "20.00 dB" in page and "40.00 dB" in page and "held-out photographs" in page
    assert not re.search(r"""(src|href)=["']?(http|file|//)""", page), "nothing outside is needed"
    pictures = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page)
    assert len(pictures) == 6
    opened = [np.asarray(Image.open(io.BytesIO(base64.b64decode(each)))) for each in pictures]
    assert opened[0].shape == (6, 8, 3) and tuple(opened[0][0, 0]) == (255, 0, 0)
    assert opened[2].shape == (6, 8) and opened[2][3, 3] == round(0.1 / 0.25 * 255)


def test_equal_pictures_have_no_end_of_decibels(addon_module):
    assert compared(addon_module, "a", True, 0.0).psnr_db == float("inf")


def test_what_the_photograph_does_not_show_is_not_compared(addon_module):
    photo, seen = np.zeros((6, 8, 3), np.float32), np.zeros((6, 8), bool)
    seen[:3] = True
    splat = np.where(seen[..., None], np.float32(0.1), np.float32(1.0))
    each = addon_module("blender_addon.scene.report_page").Compared("a", True, photo, splat, seen)
    assert abs(each.psnr_db - 20) < 1e-4
