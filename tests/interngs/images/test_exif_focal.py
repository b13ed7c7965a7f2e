# SPDX-License-Identifier: GPL-3.0-or-later
"""Focal lengths out of EXIF data, as phones, cameras and editing programs write them."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base

from interngs.images.exif_focal import exif_focal_px


def photo(size: tuple[int, int], tags: dict[int, object]) -> Image.Image:
    image = Image.new("RGB", size)
    exif = Image.Exif()
    exif.get_ifd(IFD.Exif).update(tags)
    stored = io.BytesIO()
    image.save(stored, "JPEG", exif=exif)
    return Image.open(stored)


def test_equivalent_focal_length() -> None:
    assert exif_focal_px(photo((400, 300), {Base.FocalLengthIn35mmFilm: 27})) == pytest.approx(300.0)
    assert exif_focal_px(photo((300, 400), {Base.FocalLengthIn35mmFilm: 27})) == pytest.approx(300.0)


def test_focal_length_with_pixel_density() -> None:
    # 5472 pixels on a sensor 36 mm wide, a 50 mm lens; the photo was reduced to 547 pixels.
    tags = {Base.FocalLength: 50.0, Base.FocalPlaneXResolution: 5472 / 3.6, Base.FocalPlaneResolutionUnit: 3,
            Base.ExifImageWidth: 5472}
    assert exif_focal_px(photo((547, 365), tags)) == pytest.approx(50 / 36 * 547, rel=1e-3)


@pytest.mark.parametrize("tags", [
    {}, {Base.FocalLength: 50.0}, {Base.FocalLengthIn35mmFilm: 0}, {Base.FocalLengthIn35mmFilm: 60000},
    {Base.FocalLength: 0.0, Base.FocalPlaneXResolution: 100.0}], ids=["none", "no-density", "zero", "absurd", "empty"])
def test_nothing_told_is_nothing(tags) -> None:
    assert exif_focal_px(photo((400, 300), tags)) is None
