# SPDX-License-Identifier: GPL-3.0-or-later
"""Monocular depth by any depth-estimation network that transformers loads; Depth Anything V2 Small by default."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PilImage
from torch.nn import functional

from ..errors import InputError, InternGSError
from ..stopping import StopCheck, never
from .contracts import Identity, Image
from .running import explained, fingerprint, library, memory_given_back

SWITCH_OFF = "switch the depth prior off (--depth-prior none)"
CPU_BATCH, CUDA_BATCH = 1, 8
DEPTH_NOT_INVERSE = frozenset({"zoedepth", "glpn", "depth_pro", "prompt_depth_anything"})
"""Model types whose output is depth; the others' is relative inverse depth, unless they say that they are metric."""
CONSTANT = 1e-5
"""Spread over magnitude under which an output is taken to be one constant."""


class TransformersDepth:
    """A ``DepthPrior`` from a model folder in transformers' layout.  Reads local files only, runs no code of theirs."""

    def __init__(self, folder: Path, title: str, terms: str, device: torch.device | str = "cpu") -> None:
        """``title`` and ``terms`` name model and licence; the network is loaded when it is used."""
        self.folder, self.device = Path(folder), torch.device(device)
        self.identity = Identity(title, terms, fingerprint(self.folder))

    def inverse_depth(self, images: Sequence[Image], check: StopCheck = never) -> list[NDArray[np.float32]]:
        """See ``DepthPrior``.

        Raises:
            InputError: transformers is missing, or the folder holds no whole depth-estimation model.
            InternGSError: out of memory, or the output is not finite, or constant in all pictures.
        """
        if not images:
            return []
        with memory_given_back(self.device), explained(self.identity.title, self.folder, SWITCH_OFF):
            results = self._run(images, check)
        _check(results, self.identity.title)
        return results

    def _run(self, images: Sequence[Image], check: StopCheck) -> list[NDArray[np.float32]]:
        """Load, predict, and let go of the network."""
        check()
        network, processor = _load(self.folder, self.identity.title)
        network = network.to(self.device).eval()
        results: list[NDArray[np.float32]] = []
        with torch.inference_mode():
            for batch in _batches(images, CUDA_BATCH if self.device.type == "cuda" else CPU_BATCH):
                check()
                results += _predict(network, processor, batch, self.device)
        return results


def _load(folder: Path, title: str) -> tuple[Any, Any]:
    """Network and image processor; every weight from the file, none made up."""
    transformers = library("transformers")
    if not (folder / "config.json").is_file():
        raise InputError("weights-missing", f"{folder} has no config.json, so it is no model folder.",
                         f"Point at the folder that holds it, or {SWITCH_OFF}.")
    with _quiet(transformers):
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if type(config) not in transformers.MODEL_FOR_DEPTH_ESTIMATION_MAPPING:
            raise InputError("weights-wrong", f"{title} in {folder} is a model of the kind {config.model_type!r}, "
                             "which does not estimate depth.", f"Choose a depth-estimation model, or {SWITCH_OFF}.")
        network, loading = transformers.AutoModelForDepthEstimation.from_pretrained(
            folder, config=config, local_files_only=True, trust_remote_code=False, use_safetensors=True,
            output_loading_info=True, dtype=torch.float32)
        processor = transformers.AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False)
    absent = sorted(loading["missing_keys"])
    if absent or loading["mismatched_keys"]:
        example = absent[0] if absent else next(iter(loading["mismatched_keys"]))
        raise InputError("weights-wrong", f"The weights in {folder} are not those of its config.json: "
                         f"{len(absent) + len(loading['mismatched_keys'])} tensors are missing or of another shape "
                         f"(for example {example}).", f"Download or add the model again, or {SWITCH_OFF}.")
    return network, processor


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep the library's log and progress bars out of the terminal; what matters is checked and raised here."""
    log = transformers.utils.logging
    level = log.get_verbosity()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)


def _batches(images: Sequence[Image], size: int) -> Iterator[list[Image]]:
    """Neighbours of one size, at most ``size`` together."""
    for _, group in groupby(images, key=lambda image: image.shape):
        same = list(group)
        yield from (same[start:start + size] for start in range(0, len(same), size))


def _predict(network: Any, processor: Any, images: list[Image], device: torch.device) -> list[NDArray[np.float32]]:
    pictures = [PilImage.fromarray(np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)) for image in images]
    inputs = processor(images=pictures, return_tensors="pt").to(device)
    outputs = network(**inputs)
    sizes = [image.shape[:2] for image in images]
    if hasattr(processor, "post_process_depth_estimation"):
        maps = [entry["predicted_depth"] for entry in
                processor.post_process_depth_estimation(outputs, target_sizes=sizes)]
    else:
        maps = list(functional.interpolate(
            outputs.predicted_depth[:, None], sizes[0], mode="bilinear", align_corners=False)[:, 0])
    values = [depth.float().cpu().numpy().reshape(size) for depth, size in zip(maps, sizes, strict=True)]
    return [_inverted(depth) for depth in values] if _gives_depth(network.config) else values


def _gives_depth(config: Any) -> bool:
    """Whether a network's output is depth rather than inverse depth."""
    return config.model_type in DEPTH_NOT_INVERSE or getattr(config, "depth_estimation_type", "relative") == "metric"


def _inverted(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / depth; what is nearer than a hundredth of the median, or behind the camera, counts as that near."""
    if not np.isfinite(depth).all():
        return depth
    least = max(0.01 * float(np.median(np.abs(depth))), 1e-6)
    return (1.0 / np.maximum(depth, least)).astype(np.float32)


def _check(results: list[NDArray[np.float32]], title: str) -> None:
    """One flat map may be a blank picture's; when all are flat, the model is none."""
    for number, inverse_depth in enumerate(results):
        if not np.isfinite(inverse_depth).all():
            raise InternGSError("prior-not-finite", f"{title} gave values that are not numbers for picture "
                                f"{number + 1} of {len(results)}.",
                                f"Its weights are damaged, or it cannot run on this device; {SWITCH_OFF} to go on.")
    if all(float(values.std()) <= CONSTANT * max(float(np.abs(values).max()), 1e-30) for values in results):
        raise InternGSError("prior-constant", f"{title} gave the same depth everywhere in every picture.",
                            f"Check that it is a trained depth-estimation model, or {SWITCH_OFF}.")
