# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges a capture from its record alone: limits, poses, overlap, and what the job will take."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from interngs.config import PipelineConfig
from interngs.errors import InputError
from interngs.scene.cameras import Camera, validate_camera
from interngs.wire.limits import NAME_CHARACTERS, RENDER_FRAMES, RENDER_PIXELS, RENDER_SPLATS, Limits
from interngs.wire.records import CaptureRecord, Finding, RenderRecord, ViewRecord

_DISTORTION_PARAMETERS = 16
_WIDEST_ANGLE = math.radians(75.0)
"""Views whose directions differ by more see no common surface well enough to match."""

# Rough costs (within a factor of two), from runs of the presets on two CPU cores; a GPU is about twenty times faster.
_SECONDS_PER_VIEW_MEGAPIXEL = 12.0
_SECONDS_PER_STEP_MEGAPIXEL = 0.35
_SECONDS_PER_RENDERED_MEGAPIXEL = 2.0
_GPU_SPEEDUP = 20.0
_BYTES_AT_START = 700 << 20
_BYTES_PER_PIXEL = 120
_BYTES_PER_GAUSSIAN = 1200


def judge(capture: CaptureRecord, limits: Limits) -> list[Finding]:
    """Everything that speaks against a capture; errors refuse it, warnings go with it."""
    if capture.render is not None:
        return judge_render(capture.render, len(capture.views), limits)
    findings = _judge_counts(capture, limits)
    names: set[str] = set()
    for view in capture.views:
        findings += _judge_view(view, limits)
        if view.name in names:
            findings.append(_error("view-twice", f"Two views are called {view.name!r}.", "Give each its own name.",
                                   view.name))
        names.add(view.name)
    if not any(finding.level == "error" for finding in findings):
        findings += _judge_poses(capture)
    return findings


def judge_render(render: RenderRecord, views: int, limits: Limits) -> list[Finding]:
    """Everything that speaks against a render."""
    findings = []
    pixels = sum(frame.camera.width_px * frame.camera.height_px for frame in render.frames)
    if views or not render.frames or not render.splats:
        findings.append(_error("render-empty", "A render needs frames and splats, and no views.",
                               "Send at least one of each; reconstruct in another job."))
    if len(render.frames) > RENDER_FRAMES or len(render.splats) > RENDER_SPLATS or pixels > RENDER_PIXELS:
        findings.append(_error("limit-exceeded", f"The render has {len(render.frames)} frames, {len(render.splats)} "
                               f"splats and {pixels / 1e6:.0f} megapixels; a job takes {RENDER_FRAMES}, "
                               f"{RENDER_SPLATS} and {RENDER_PIXELS / 1e6:.0f}.", "Send it as several jobs."))
    if len({frame.number for frame in render.frames}) < len(render.frames):
        findings.append(_error("frame-twice", "Two frames of the render have one number.", "Number them apart."))
    if sum(ref.size_bytes for ref in render.splats) > limits.capture_bytes:
        findings.append(_error("limit-exceeded", f"The splats are larger than {limits.capture_bytes / 1e9:.1f} GB, "
                               "which this server takes.", "Render fewer at a time."))
    for frame in render.frames:
        try:
            validate_camera(frame.camera.to_camera(), f"frame {frame.number}")
        except InputError as error:
            findings.append(_error(error.code, error.cause, error.remedy))
        if any(not 0 <= each.splat < len(render.splats) for each in frame.placements):
            findings.append(_error("placement-invalid", f"Frame {frame.number} places a splat that the render lacks.",
                                   "Send the render again with the newest client."))
    return findings


def _judge_counts(capture: CaptureRecord, limits: Limits) -> list[Finding]:
    count, total = len(capture.views), sum(ref.size_bytes for ref in capture.blobs())
    findings = []
    if count < 2:
        findings.append(_error("too-few-views", f"The capture has {count} view{'s' * (count != 1)}.",
                               "Add photos: two at least, three to twelve are good."))
    if count > limits.views:
        findings.append(_error("limit-exceeded", f"The capture has {count} views; this server takes {limits.views}.",
                               "Leave some out."))
    if total > limits.capture_bytes:
        findings.append(_error("limit-exceeded", f"The files have {total / 1e9:.1f} GB; this server takes "
                               f"{limits.capture_bytes / 1e9:.1f} GB.", "Send fewer or smaller photos."))
    if len(capture.source) > NAME_CHARACTERS:
        findings.append(_error("limit-exceeded", "The text of where the poses come from is too long.", "Shorten it."))
    return findings


def _judge_view(view: ViewRecord, limits: Limits) -> list[Finding]:
    name = view.name[:NAME_CHARACTERS]
    findings = []
    if not view.name or len(view.name) > NAME_CHARACTERS:
        findings.append(_error("view-name", f"A view has a name of {len(view.name)} characters.",
                               f"Use 1 to {NAME_CHARACTERS}.", name))
    for ref in filter(None, (view.image, view.mask, view.depth)):
        if not 0 < ref.size_bytes <= limits.image_bytes:
            findings.append(_error("limit-exceeded", f"A file of {name!r} has {ref.size_bytes / 1e6:.1f} MB; this "
                                   f"server takes {limits.image_bytes / 1e6:.0f} MB.", "Export a smaller version.",
                                   name))
    pixels = view.width_px * view.height_px
    if view.width_px < 1 or view.height_px < 1 or pixels > limits.image_pixels:
        findings.append(_error("image-too-large", f"{name!r} has {view.width_px}x{view.height_px} px; the limit is "
                               f"{limits.image_pixels / 1e6:.0f} megapixels.", "Export a smaller version.", name))
    if len(view.distortion) > _DISTORTION_PARAMETERS:
        findings.append(_error("distortion-invalid", f"{name!r} has {len(view.distortion)} distortion parameters.",
                               "Read the pose file again.", name))
    if view.camera is not None:
        try:
            validate_camera(view.camera.to_camera(), name)
        except InputError as error:
            findings.append(_error(error.code, error.cause, error.remedy, name))
    return findings


def _judge_poses(capture: CaptureRecord) -> list[Finding]:
    posed = [view for view in capture.views if view.camera is not None]
    if not posed:
        return [Finding("warning", "pose-missing", "No view has a pose; poses will be estimated from the photos.",
                        "Give poses where you have them: the result is better and faster.")]
    findings = [_error("pose-missing", f"{view.name!r} has no pose while others have one.",
                       "Give it a pose, or leave it out.", view.name)
                for view in capture.views if view.camera is None]
    cameras = [view.camera.to_camera() for view in posed if view.camera is not None]
    centres = np.stack([camera.centre for camera in cameras])
    if len(posed) > 1 and np.ptp(centres, axis=0).max() <= 1e-9 * max(1.0, float(np.abs(centres).max())):
        findings.append(_error("no-parallax", "All cameras stand at the same place.",
                               "Depth needs photos from different places."))
    elif len(posed) > 1:
        alone = np.logical_not(shares_a_view(cameras).any(axis=1))
        findings += [Finding("warning", "no-overlap", f"{view.name!r} seems to see nothing that another view sees.",
                             "Check its pose, or add a photo in between.", view.name)
                     for view, lonely in zip(posed, alone.tolist(), strict=True) if lonely]
        if alone.all():
            findings.append(_error("no-overlap", "No two views see the same part of the scene.",
                                   "Check the poses; photos must overlap by half or more."))
    return findings


def shares_a_view(cameras: list[Camera]) -> NDArray[np.bool_]:
    """[N, N] whether two cameras can see common points: directions near enough, and one's sights in the other's image.

    Points on a grid of each image at a range of depths around the scene's size are projected into the others.
    """
    count = len(cameras)
    centres = np.stack([camera.centre for camera in cameras])
    baseline = float(np.median(np.linalg.norm(centres - np.median(centres, axis=0), axis=1))) or 1.0
    depths = baseline * np.geomspace(0.5, 50.0, 8)
    forward = np.stack([camera.forward for camera in cameras])
    near = forward @ forward.T >= math.cos(_WIDEST_ANGLE)
    shared = np.zeros((count, count), bool)
    for i, camera in enumerate(cameras):
        points = _sights(camera, depths)
        for j in np.flatnonzero(near[i]):
            if i != j:
                pixels, z = cameras[j].project(points)
                size = (cameras[j].width_px, cameras[j].height_px)
                shared[i, j] = bool(((z > 0) & (pixels >= 0).all(axis=1) & (pixels < size).all(axis=1)).mean() > 0.05)
    return shared | shared.T


def _sights(camera: Camera, depths: NDArray[np.float64]) -> NDArray[np.float64]:
    """World points on a 5 x 5 grid of the image at each depth, [25 * len(depths), 3]."""
    u, v = np.meshgrid(np.linspace(0.1, 0.9, 5) * camera.width_px, np.linspace(0.1, 0.9, 5) * camera.height_px)
    rays = np.stack([u.ravel(), v.ravel(), np.ones(25)], axis=1) @ np.linalg.inv(camera.K).T
    in_camera = (depths[:, None, None] * rays).reshape(-1, 3)
    pose = camera.world_from_camera
    return in_camera @ pose[:3, :3].T + pose[:3, 3]


def estimate(capture: CaptureRecord, config: PipelineConfig, on_gpu: bool) -> tuple[float, int]:
    """(seconds, bytes of memory) that a job will take, roughly."""
    if capture.render is not None:
        return estimate_render(capture.render, on_gpu)
    pixels = 0.0
    for view in capture.views:
        longest = max(view.width_px, view.height_px, 1)
        scale = 1.0 if config.max_side_px is None else min(1.0, config.max_side_px / longest)
        pixels += view.width_px * view.height_px * scale * scale
    megapixels = pixels / 1e6
    per_view = megapixels / max(len(capture.views), 1)
    seconds = (_SECONDS_PER_VIEW_MEGAPIXEL * megapixels
               + config.optimise.steps * (0.02 + _SECONDS_PER_STEP_MEGAPIXEL * per_view))
    gaussians = min(config.seeding.max_seeds, pixels * 0.7)
    memory = _BYTES_AT_START + _BYTES_PER_PIXEL * pixels + _BYTES_PER_GAUSSIAN * gaussians
    return seconds / (_GPU_SPEEDUP if on_gpu else 1.0), int(memory)


def estimate_render(render: RenderRecord, on_gpu: bool) -> tuple[float, int]:
    """(seconds, bytes of memory) that a render will take, roughly."""
    pixels = sum(frame.camera.width_px * frame.camera.height_px for frame in render.frames)
    splat_bytes = sum(ref.size_bytes for ref in render.splats)
    seconds = _SECONDS_PER_RENDERED_MEGAPIXEL * pixels / 1e6
    return seconds / (_GPU_SPEEDUP if on_gpu else 1.0), int(_BYTES_AT_START + 6 * splat_bytes + 40 * pixels)


def _error(code: str, cause: str, remedy: str, view: str | None = None) -> Finding:
    return Finding("error", code, cause, remedy, view)
