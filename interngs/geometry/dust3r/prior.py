# SPDX-License-Identifier: GPL-3.0-or-later
"""DUSt3R as a geometry: depth at given cameras, or cameras and depth where no poses are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import InputError
from ...scene.cameras import Camera, validate_camera
from ...scene.capture import Capture, View
from ..cross_view import check_views
from ..prior import Geometry, ReportProgress, ViewGeometry
from ..world_frame import choose_world_frame
from .alignment import align_globally
from .checkpoint import load_network
from .errors import ViewsNotAligned
from .inference import predict_pairs
from .network import Dust3rNetwork
from .pairs import make_pairs, pairs_of_neighbours
from .pointmaps import GOOD_CONFIDENCE, PairPoints, weighted_median
from .posed import MIN_CONFIRMED_SHARE, align_to_cameras
from .preprocess import Framing, framing_for, network_image, normalised
from .resample import to_photo_pixels
from .spanning_tree import focals_of_views
from .two_view import AlignedViews, align_two_views

COMPLETE_UP_TO_VIEWS = 6
"""With given poses, more views than these are paired with their nearest ones only."""
NEIGHBOURS = 5
SHARED_FOCAL_SPREAD = 0.1
"""Relative spread of the views' own focal lengths up to which one lens is taken to have made them all."""
_PREDICTION_SHARE = 0.8
_PROGRESS_STEPS = 1000


@dataclass(frozen=True, eq=False)
class _Prepared:
    """The capture as the network sees it."""

    views: tuple[View, ...]
    framings: list[Framing]
    images: list[NDArray[np.float32]]

    @property
    def names(self) -> list[str]:
        return [view.name for view in self.views]


class Dust3r:
    """The geometry of Wang et al., DUSt3R: Geometric 3D Vision Made Easy (CVPR 2024).

    See ``GeometryPrior``.  Views with poses keep them; when a view has none, the cameras of all views
    are estimated.
    """

    name = "dust3r"

    def __init__(self, load: Callable[[], Dust3rNetwork], weights: str) -> None:
        """``load`` gives the network; it is held during an estimate only.  ``weights`` names it in the report."""
        self._load = load
        self._weights = weights

    @classmethod
    def from_weights(cls, path: Path, device: torch.device | str = "cpu", weights: str = "") -> Dust3r:
        """From a released ``.pth`` file or hub folder, read when an estimate begins.

        On CUDA the transformer runs in bfloat16, or float16 where the card has no bfloat16.
        """
        target = torch.device(device)
        compute_dtype = torch.float32
        if target.type == "cuda":
            compute_dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return cls(lambda: load_network(path, target, compute_dtype), weights or path.name)

    def estimate(self, capture: Capture, report_progress: ReportProgress) -> Geometry:
        """Dense geometry of every view, at its given camera or at an estimated one.

        Raises:
            InputError: fewer than two views, views that cannot be aligned, poses that do not fit, or
                weights that cannot be used (see ``checkpoint.load_network``).
        """
        if len(capture.views) < 2:
            raise InputError("too-few-views", f"DUSt3R needs at least two photos, there are {len(capture.views)}.",
                             "Add photos that overlap.")
        posed = all(view.camera is not None for view in capture.views)
        if posed:
            for view in capture.views:
                validate_camera(view.posed_camera, view.name)
        network = self._load()
        config, device = network.config, next(network.parameters()).device
        prepared = _prepare(capture, config.long_side_px)
        pairs = _predict(network, prepared, posed, report_progress)
        # Its memory is wanted for what follows.
        del network
        try:
            geometry = _at_given_cameras(prepared, pairs) if posed else _with_cameras(
                prepared, pairs, device, report_progress)
        except ViewsNotAligned as error:
            raise ViewsNotAligned(error.views, error.why, prepared.names) from error
        report_progress(_PROGRESS_STEPS, _PROGRESS_STEPS)
        report = {
            "weights": self._weights, "network_px": config.long_side_px, "head": config.head, "pairs": len(pairs),
            **geometry.report}
        ignored = [view.name for view in capture.views if view.camera is not None] if not posed else []
        warnings = geometry.warnings
        if ignored:
            warnings += (f"Only {len(ignored)} of {len(capture.views)} photos have a pose, so the poses of all photos "
                         "were estimated and the given ones were not used.",)
        return replace(geometry, report=report, warnings=warnings)


def _prepare(capture: Capture, network_px: int) -> _Prepared:
    framings, images = [], []
    for view in capture.views:
        height, width = view.image.shape[:2]
        framing = framing_for((width, height), network_px)
        if framing.width_px < 1 or framing.height_px < 1:
            raise InputError("photo-too-narrow", f"{view.name!r} is {width}x{height} px, too narrow a strip.",
                             "Leave this photo out.")
        framings.append(framing)
        pixels = np.round(np.clip(view.image, 0, 1) * 255).astype(np.uint8)
        images.append(normalised(network_image(pixels, framing)))
    return _Prepared(capture.views, framings, images)


def _predict(
    network: Dust3rNetwork, prepared: _Prepared, posed: bool, report_progress: ReportProgress
) -> list[PairPoints]:
    count = len(prepared.views)
    if posed and count > COMPLETE_UP_TO_VIEWS:
        pairs = pairs_of_neighbours([view.posed_camera for view in prepared.views], NEIGHBOURS)
    else:
        pairs = make_pairs(count, "complete", both_ways=True)

    def report(done: int, total: int) -> None:
        report_progress(int(_PROGRESS_STEPS * _PREDICTION_SHARE * done / total), _PROGRESS_STEPS)

    return predict_pairs(network, prepared.images, pairs, report)


def _with_cameras(
    prepared: _Prepared, pairs: list[PairPoints], device: torch.device, report_progress: ReportProgress
) -> Geometry:
    """Geometry with estimated cameras, upright and at a stated scale."""
    def report(done: int, total: int) -> None:
        share = _PREDICTION_SHARE + (1 - _PREDICTION_SHARE) * done / total
        report_progress(int(_PROGRESS_STEPS * share), _PROGRESS_STEPS)

    centres = [_photo_centre(framing) for framing in prepared.framings]
    facts: dict[str, Any] = {"poses": "estimated"}
    if len(prepared.views) == 2:
        forward, backward = sorted(pairs, key=lambda pair: pair.first)
        aligned = align_two_views(forward, backward, centres)
    else:
        focal = _shared_focal(pairs, centres, prepared.framings)
        facts["focal"] = "one for all photos" if focal else "one per photo"
        outcome = align_globally(
            pairs, centres, [focal] * len(centres) if focal else None,
            device=device, report_progress=report)
        aligned = outcome.views
        facts["alignment_loss"] = outcome.final_loss
    return _upright(prepared, aligned, facts)


def _photo_centre(framing: Framing) -> NDArray[np.float64]:
    """The photo's centre in the network's image, in pixels from the corner."""
    return np.array(framing.resized_px) / 2 - np.array(framing.crop_px[:2])


def _shared_focal(
    pairs: list[PairPoints], centres: list[NDArray[np.float64]], framings: Sequence[Framing]
) -> float | None:
    """One focal length for all views when they look like one lens' work, else ``None``.

    Photos of one size (either way up) and own focal lengths that agree within ``SHARED_FOCAL_SPREAD``
    are taken for one lens; a focal length that all photos tell together is far surer than each alone.
    """
    if len({tuple(sorted(framing.source_px)) for framing in framings}) > 1:
        return None
    own = [pair for pair in pairs if pair.first != pair.second]
    focals = np.array(focals_of_views(own, [], centres))
    middle = weighted_median(focals, np.ones(len(focals)))
    spread = float(np.median(np.abs(focals / middle - 1)))
    return middle if spread <= SHARED_FOCAL_SPREAD else None


def _at_given_cameras(prepared: _Prepared, pairs: list[PairPoints]) -> Geometry:
    cameras = [framing.to_network(view.posed_camera)
               for view, framing in zip(prepared.views, prepared.framings, strict=True)]
    aligned = align_to_cameras(pairs, cameras)
    views = [_view_geometry(view, framing, view.posed_camera, depth, confidence)
             for view, framing, depth, confidence in zip(
                 prepared.views, prepared.framings, aligned.depths, aligned.confidences, strict=True)]
    warnings = tuple(
        f"{view.name!r} could not be aligned with its given pose (rotation {fit.rotation_deg:.1f} degrees off, "
        f"{100 * fit.confirmed_share:.0f} % of its points confirmed); its depth is not used."
        for view, fit in zip(prepared.views, aligned.views, strict=True) if not fit.aligned)
    fits = [{"view": view.name, **asdict(fit)} for view, fit in zip(prepared.views, aligned.views, strict=True)]
    report = {"poses": "given", "alignment": _finite(fits), **_shares(views)}
    return Geometry(tuple(views), Dust3r.name, report, warnings)


def _upright(prepared: _Prepared, aligned: AlignedViews, facts: dict[str, Any]) -> Geometry:
    """The aligned views in an upright world, checked against each other, at the photos' sizes."""
    checks = check_views(aligned.cameras, aligned.depths)
    points, depths = [], []
    for camera, depth, confidence in zip(aligned.cameras, aligned.depths, aligned.confidences, strict=True):
        sure = (depth > 0) & (confidence > min(GOOD_CONFIDENCE, float(np.quantile(confidence, 0.8))))
        points.append(camera.unproject(depth)[sure])
        depths.append(depth[sure])
    frame = choose_world_frame(aligned.cameras, np.concatenate(points), float(np.median(np.concatenate(depths))))
    views, fits, warnings = [], [], []
    for index, view in enumerate(prepared.views):
        framing, check = prepared.framings[index], checks[index]
        camera = frame.apply_to_camera(_square_pixels(framing.to_photo(aligned.cameras[index])))
        fitted = check.confirmed_share >= MIN_CONFIRMED_SHARE
        trusted = ~check.refuted if fitted else np.zeros_like(check.refuted)
        views.append(_view_geometry(
            view, framing, camera, aligned.depths[index] * frame.new_from_old.scale,
            np.where(trusted, aligned.confidences[index], 0)))
        error = check.error_px[np.isfinite(check.error_px)]
        fits.append({
            "view": view.name, "focal_px": float(camera.K[0, 0]), "confirmed_share": check.confirmed_share,
            "reprojection_px": float(np.median(error)) if error.size else float("nan"),
            "refuted_share": float(check.refuted.mean()), "aligned": fitted})
        if not fitted:
            warnings.append(f"{view.name!r} could not be aligned with the other photos; its depth is not used.")
    return Geometry(tuple(views), Dust3r.name, {
        **facts, "world": frame.description, "alignment": _finite(fits), **_shares(views)}, tuple(warnings))


def _square_pixels(camera: Camera) -> Camera:
    """The network's image was resized to whole pixels; the photo's own pixels are square."""
    K = camera.K.copy()
    K[0, 0] = K[1, 1] = float(np.sqrt(K[0, 0] * K[1, 1]))
    return replace(camera, K=K)


def _view_geometry(
    view: View, framing: Framing, camera: Camera, depth: NDArray[np.floating], confidence: NDArray[np.floating]
) -> ViewGeometry:
    at_photo, trust = to_photo_pixels(depth, confidence, framing)
    if view.mask is not None:
        outside = view.mask < 0.5
        at_photo[outside], trust[outside] = 0, 0
    return ViewGeometry(camera, at_photo, trust)


def _shares(views: Sequence[ViewGeometry]) -> dict[str, float]:
    return {
        "known_share": float(np.mean([(view.depth > 0).mean() for view in views])),
        "good_share": float(np.mean([(view.confidence >= GOOD_CONFIDENCE).mean() for view in views]))}


def _finite(fits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Not-a-number has no place in JSON; what could not be measured becomes ``None``."""
    return [{key: None if isinstance(value, float) and not np.isfinite(value) else value
             for key, value in fit.items()} for fit in fits]
