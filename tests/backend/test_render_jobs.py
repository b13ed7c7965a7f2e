# SPDX-License-Identifier: GPL-3.0-or-later
"""Finished splats rendered by the service: the library's own pictures, exactly; what is refused; what is stopped."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from interngs.errors import InternGSError
from interngs.link import FrameSource, RenderSource
from interngs.render.final import FrameRenderer, exr_of, frame_of
from interngs.render.view import Picture, ViewRenderer
from interngs.scene.cameras import Camera, look_at
from interngs.scene.gaussians import Gaussians, concatenate
from interngs.scene.transforms import transform_gaussians
from interngs.wire.limits import RENDER_FRAMES
from interngs.wire.records import RENDER_PRESET

WAIT_S = 120.0


def some_splat(count: int, seed: int, degree: int = 2) -> Gaussians:
    random = np.random.default_rng(seed)
    quats = random.normal(size=(count, 4))
    return Gaussians(random.normal(scale=0.5, size=(count, 3)).astype(np.float32),
                     (quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
                     random.uniform(-4, -2, (count, 3)).astype(np.float32),
                     random.normal(size=count).astype(np.float32),
                     random.normal(scale=0.4, size=(count, (degree + 1) ** 2, 3)).astype(np.float32))


def camera_at(angle: float, width: int = 60, height: int = 44) -> Camera:
    pose = look_at(np.array([3 * np.sin(angle), 0.3, -3 * np.cos(angle)]), np.zeros(3), np.array([0.0, -1.0, 0.0]))
    return Camera(np.array([[55.0, 0, 31.5], [0, 52.0, 20.0], [0, 0, 1]]), pose, width, height)


def turned(angle: float, scale: float, move: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, :3] *= scale
    matrix[:3, 3] = move
    return matrix


@pytest.fixture
def channels(tmp_path):
    """The channels of EXR bytes, by the add-on's reader: written for Blender's files, apart from the writer."""
    name, root = "intern_gs_exr_reader", Path(__file__).resolve().parents[2]
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, root / "__init__.py",
                                                      submodule_search_locations=[str(root)])
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    read_channel = importlib.import_module(f"{name}.blender_addon.scene.exr").read_channel

    def read(data):
        path = tmp_path / "frame.exr"
        path.write_bytes(data)
        return {each: read_channel(path, each) for each in
                ("Combined.R", "Combined.G", "Combined.B", "Combined.A", "Depth.Z")}

    return read


def test_frames_are_the_librarys_pictures_exactly(start_server, follow, channels):
    """Two splats, one of which moves, turns and is hidden in one frame, and a moving camera."""
    server, splats = start_server(), [some_splat(1500, 1), some_splat(700, 2, degree=0)]
    frames = []
    for number in range(3):
        placements = [(0, np.eye(4))]
        if number != 1:
            placements.append((1, turned(0.3 * number, 1.0 + 0.2 * number, (0.4, 0.1 * number, 0.0))))
        frames.append(FrameSource(10 + number, camera_at(0.2 * number), tuple(placements)))
    client = follow(server.address)
    job = client.link.render(RenderSource(tuple((lambda each=each: each) for each in splats), tuple(frames)),
                             title="three frames").result(WAIT_S)
    assert job.preset == RENDER_PRESET
    done = client.wait_until(job.job_id, "done")
    fetched = client.link.fetch_frames(done).result(WAIT_S)
    assert sorted(fetched) == [10, 11, 12]
    for frame in frames:
        placed = concatenate([transform_gaussians(splats[index], matrix) for index, matrix in frame.placements])
        picture = ViewRenderer(placed, torch.device("cpu")).render(frame.camera)
        encoded = np.clip(picture.rgb / np.maximum(picture.alpha, 1e-10)[..., None], 0, 1)
        linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
        found = channels(bytes(fetched[frame.number]))
        assert picture.alpha.max() > 0.5
        assert np.array_equal(found["Combined.A"], picture.alpha.astype(np.float16).astype(np.float32))
        seen = picture.alpha >= 1 / 255
        assert np.array_equal(found["Depth.Z"][seen], picture.depth[seen])
        assert (found["Depth.Z"][~seen] == np.float32(1e10)).all()
        for index, name in enumerate("RGB"):
            wanted = (linear[..., index] * picture.alpha).astype(np.float32).astype(np.float16).astype(np.float32)
            assert np.array_equal(found[f"Combined.{name}"], wanted)


def test_the_same_splat_is_sent_once(start_server, follow):
    server, splat = start_server(), some_splat(400, 3)
    client = follow(server.address)
    frame = FrameSource(1, camera_at(0.0), ((0, np.eye(4)),))
    for number in range(2):
        job = client.link.render(RenderSource((lambda: splat,), (frame,))).result(WAIT_S)
        assert job.state == ("uploading" if number == 0 else "queued")
        client.wait_until(job.job_id, "done")


@pytest.mark.parametrize("frames", [(), tuple(FrameSource(number, camera_at(0.0), ())
                                              for number in range(RENDER_FRAMES + 1)),
                                    (FrameSource(1, camera_at(0.0), ((1, np.eye(4)),)),),
                                    (FrameSource(1, camera_at(0.0), ()), FrameSource(1, camera_at(0.0), ())),
                                    (FrameSource(1, camera_at(0.0, 9000, 9000), ()),)],
                         ids=["none", "many", "unknown splat", "one number twice", "large"])
def test_renders_that_are_refused(start_server, follow, frames):
    client = follow(start_server().address)
    with pytest.raises(InternGSError) as caught:
        client.link.render(RenderSource((lambda: some_splat(10, 1),), frames)).result(WAIT_S)
    assert caught.value.code in ("render-empty", "limit-exceeded", "placement-invalid", "frame-twice")
    assert client.link.jobs().result(WAIT_S) == ()


def test_a_placement_that_flattens_ends_in_words(start_server, follow):
    client = follow(start_server().address)
    flat = np.diag([1.0, 1.0, 0.0, 1.0])
    job = client.link.render(RenderSource((lambda: some_splat(10, 1),),
                                          (FrameSource(1, camera_at(0.0), ((0, flat),)),))).result(WAIT_S)
    failed = client.wait_until(job.job_id, "failed")
    assert failed.error is not None and failed.error.code not in ("worker-error", "worker-lost")


def test_a_frame_without_splats_is_empty():
    frame = FrameRenderer([some_splat(10, 1)], torch.device("cpu")).render(camera_at(0.0), [])
    assert frame.rgba.shape == (44, 60, 4) and not frame.rgba.any() and (frame.depth == 1e10).all()


def test_colour_is_linear_and_premultiplied(channels):
    alpha = np.float32([[0.5, 1.0, 0.0]])
    encoded = np.float32([[[0.5, 0.5, 0.5], [0.2, 0.6, 1.0], [0, 0, 0]]])
    frame = frame_of(Picture(encoded * alpha[..., None], np.float32([[2, 3, 0]]), alpha))
    assert np.allclose(frame.rgba[0, 0], [0.21404114 / 2] * 3 + [0.5], atol=1e-6)
    assert np.allclose(frame.rgba[0, 1], [0.03310477, 0.31854678, 1.0, 1.0], atol=1e-6)
    found = channels(exr_of(frame))
    assert found["Depth.Z"][0].tolist() == [2.0, 3.0, np.float32(1e10)]
