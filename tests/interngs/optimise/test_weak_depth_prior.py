# SPDX-License-Identifier: GPL-3.0-or-later
"""A real, small monocular network (TCMonoDepth, MIT, 0.19 M weights) as a depth prior on the shipped example."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from interngs.config import preset_config
from interngs.evaluate.held_out import mean_metrics, measure
from interngs.events import Done
from interngs.formats.detect import find_capture
from interngs.formats.split import find_split
from interngs.images.load import load_capture
from interngs.optimise.model_priors import ModelPriors
from interngs.pipeline import reconstruct
from interngs.priors.contracts import Identity
from interngs.render.device import choose_device
from interngs.stopping import never

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "chess_table"


class SmallNetwork:
    """Runs the ONNX file with OpenCV; ``sign`` -1 turns its answers upside down."""

    identity = Identity("TCMonoDepth small", "MIT; commercial use allowed", "tcmonodepth-small")

    def __init__(self, file: Path, sign: float = 1.0) -> None:
        self.network, self.sign = cv2.dnn.readNetFromONNX(str(file)), sign

    def inverse_depth(self, images: Sequence[NDArray], check=never) -> list[NDArray]:
        results = []
        for image in images:
            self.network.setInput(cv2.dnn.blobFromImage(255 * image, 1.0, (320, 192)))
            output = self.network.forward()
            results.append(self.sign * cv2.resize(output[0, 0], (image.shape[1], image.shape[0])))
        return results


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_weak_network_is_heard_where_it_is_right(shared_data: Path, tmp_path: Path, monkeypatch) -> None:
    scene, file = EXAMPLE, shared_data / "weights" / "tcmonodepth_small_192x320.onnx"
    if not file.is_file():
        pytest.skip("shared data absent: tcmonodepth_small")
    files, split = find_capture(scene), find_split(scene, 3)
    config = preset_config("draft")
    config = replace(config, max_side_px=192, device="cpu", threads=2,
                     optimise=replace(config.optimise, steps=120, pseudo_views=8))
    capture, unseen = (load_capture(files, list(part), config.max_side_px) for part in (split.train, split.held_out))
    device, _ = choose_device("cpu")
    quality, said = {}, {}
    for name, network in (("none", None), ("right", SmallNetwork(file)), ("upside down", SmallNetwork(file, -1.0))):
        monkeypatch.setattr(ModelPriors, "choose", classmethod(
            lambda cls, *_, network=network: cls(network, "a test", None, "a test")))
        work = tmp_path / name
        if name != "none":
            # All three start from one geometry.
            work.mkdir()
            shutil.copy(tmp_path / "none" / "geometry.npz", work)
        *_, done = reconstruct(capture, config, work, resume=name != "none")
        assert isinstance(done, Done)
        quality[name] = mean_metrics(measure(done.gaussians, unseen, device, None))["psnr"]
        said[name] = done.report["priors"]["depth"]
    # Its correlation with stereo inverse depth on this scene is 0.7 to 0.9.
    correlations = [view["correlation"] for view in said["right"]["views"]]
    assert np.mean(correlations) > 0.6 and sum(view["say"] > 0.2 for view in said["right"]["views"]) >= 2
    assert all(view["say"] == 0 for view in said["upside down"]["views"])
    assert quality["right"] > quality["none"] - 0.15
    assert quality["upside down"] == pytest.approx(quality["none"], abs=1e-6)
