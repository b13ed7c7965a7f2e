# SPDX-License-Identifier: GPL-3.0-or-later
"""Resizing and cropping to the network's size, and the camera that goes along."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from interngs.geometry.dust3r.preprocess import framing_for, network_image, normalised
from interngs.scene.cameras import Camera


def test_sizes_equal_the_official_rule(golden: Path) -> None:
    for entry in json.loads((golden / "preprocess_sizes.json").read_text()):
        framing = framing_for(tuple(entry["input_wh"]), entry["size"], keep_square=entry["square_ok"])
        assert list(framing.resized_px) == entry["resized_wh"], entry
        assert list(framing.crop_px) == entry["crop_box_xyxy"], entry
        assert [framing.height_px, framing.width_px] == entry["out_true_shape_hw"], entry


def test_pixels_equal_the_official_ones(golden: Path) -> None:
    arrays = np.load(golden / "preprocess_pixels.npz")
    cases = {name.partition("/")[0] for name in arrays.files if name.endswith("in_uint8")}
    assert len(cases) >= 5
    for case in cases:
        image = arrays[f"{case}/in_uint8"]
        framing = framing_for((image.shape[1], image.shape[0]), int(arrays[f"{case}/size"]))
        assert np.array_equal(network_image(image, framing).transpose(2, 0, 1), arrays[f"{case}/out_uint8"][0]), case


def test_normalisation() -> None:
    image = np.array([[[0, 128, 255]]], np.uint8)
    assert np.allclose(normalised(image)[:, 0, 0], [-1, 128 / 127.5 - 1, 1], atol=1e-6)


def test_camera_sees_the_same_point_at_the_same_place() -> None:
    """A point projected in the photo, resized and cropped by hand, lands where the network's camera puts it."""
    K = np.array([[900.0, 0, 640.0], [0, 910.0, 420.0], [0, 0, 1]])
    camera = Camera(K, np.eye(4), 1296, 840)
    for network_px in (512, 224):
        framing = framing_for((1296, 840), network_px)
        points = np.array([[0.3, -0.2, 2.0], [-0.5, 0.1, 3.0]])
        photo, _ = camera.project(points)
        by_hand = photo * np.array(framing.resized_px) / [1296, 840] - framing.crop_px[:2]
        network = framing.to_network(camera)
        assert (network.width_px, network.height_px) == (framing.width_px, framing.height_px)
        assert np.allclose(network.project(points)[0], by_hand)
        assert np.allclose(framing.to_photo(network).K, K)
