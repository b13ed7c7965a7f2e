# SPDX-License-Identifier: GPL-3.0-or-later
"""What the judgement of a capture finds, from the record alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.preflight import estimate, judge, shares_a_view
from interngs.config import preset_config
from interngs.scene.cameras import Camera
from interngs.wire.limits import Limits
from interngs.wire.records import BlobRef, CameraRecord, CaptureRecord, ViewRecord


def camera_at(centre: tuple[float, float, float], target: tuple[float, float, float]) -> Camera:
    forward = np.subtract(target, centre) / np.linalg.norm(np.subtract(target, centre))
    right = np.cross([0.0, 1.0, 0.1], forward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ centre
    return Camera(np.array([[500.0, 0, 320], [0, 500.0, 240], [0, 0, 1]]), pose, 640, 480)


def capture_of(cameras: list[Camera | None]) -> CaptureRecord:
    records = [None if camera is None else CameraRecord.of(camera) for camera in cameras]
    return CaptureRecord(tuple(ViewRecord(f"view{i}", BlobRef(f"{i:064x}", 1000), 640, 480, record)
                               for i, record in enumerate(records)))


ARC = [camera_at((x, 0.0, -4.0), (0.0, 0.0, 0.0)) for x in (-1.0, 0.0, 1.0)]
AWAY = camera_at((0.0, 0.0, -4.5), (0.0, 0.0, -9.0))


def codes(capture: CaptureRecord, limits: Limits = Limits()) -> dict[str, str]:  # noqa: B008 - frozen
    return {finding.code: finding.level for finding in judge(capture, limits)}


def test_a_good_capture_has_no_findings():
    assert codes(capture_of(ARC)) == {}


def test_overlap_is_told_from_cameras_alone():
    shared = shares_a_view([*ARC, AWAY])
    assert shared[:3, :3].sum() == 6 and not shared[3].any()


def test_a_view_that_looks_away_is_warned_of_by_name():
    findings = judge(capture_of([*ARC, AWAY]), Limits())
    assert [(finding.level, finding.code, finding.view) for finding in findings] == [("warning", "no-overlap", "view3")]


@pytest.mark.parametrize(("cameras", "code", "level"), [
    (ARC[:1], "too-few-views", "error"), ([], "too-few-views", "error"), ([ARC[0], AWAY], "no-overlap", "error"),
    ([ARC[0], ARC[0]], "no-parallax", "error"), ([*ARC, None], "pose-missing", "error"),
    ([None, None, None], "pose-missing", "warning"),
])
def test_poses_that_cannot_work(cameras, code, level):
    assert codes(capture_of(cameras)).get(code) == level


def test_limits_are_judged():
    capture = capture_of(ARC)
    assert codes(capture, Limits(views=2)) == {"limit-exceeded": "error"}
    assert codes(capture, Limits(image_bytes=999)) == {"limit-exceeded": "error"}
    assert codes(capture, Limits(capture_bytes=2999)) == {"limit-exceeded": "error"}
    assert codes(capture, Limits(image_pixels=640 * 480 - 1)) == {"image-too-large": "error"}
    named = replace(capture, views=(replace(capture.views[0], name="x" * 201), *capture.views[1:]))
    assert codes(named) == {"view-name": "error"}
    bent = replace(capture, views=(replace(capture.views[0], distortion=(0.0,) * 17), *capture.views[1:]))
    assert codes(bent) == {"distortion-invalid": "error"}


def test_cameras_that_are_none_are_named():
    broken = replace(ARC[0], K=np.diag([0.0, 1.0, 1.0]))
    (finding,) = judge(capture_of([broken, *ARC[1:]]), Limits())
    assert finding.code == "focal-not-positive" and finding.view == "view0"


def test_the_estimate_grows_with_the_work():
    capture = capture_of(ARC)
    draft, high = (estimate(capture, preset_config(name), on_gpu=False) for name in ("draft", "high"))
    assert 5 < draft[0] < high[0] and 0.5e9 < draft[1] <= high[1] < 4e9
    assert estimate(capture, preset_config("high"), on_gpu=True)[0] < high[0] / 5
