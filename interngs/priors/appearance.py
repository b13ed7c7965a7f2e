# SPDX-License-Identifier: GPL-3.0-or-later
"""Repair of renders by image-to-image diffusion: Stable Diffusion 1.5, with the ControlNet for tiles or without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PilImage

from ..errors import InputError, InternGSError
from ..stopping import StopCheck, never
from .contracts import Identity, Image, Unseen
from .running import explained, fingerprint, library, memory_given_back

SWITCH_OFF = "switch the appearance prior off (--appearance-prior none)"
STRENGTH = 0.2
"""Share of the noise schedule that a render is taken back by (LM-Gaussian): detail is redrawn, layout stays."""
NOISE_STEPS = 50
"""Length of the whole schedule; ``STRENGTH`` of it is run, at least one step."""
CONTROL_SCALE = 0.8
PROMPT = "a sharp photograph"
MULTIPLE_PX = 8
"""Sides of the pictures that a diffusion model sees are multiples of this many latent pixels' worth."""
CONTROL_WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
SMALLEST_SPREAD = 1e-3
"""Standard deviation under which a returned picture is taken to be blank."""


class DiffusionRepair:
    """An ``AppearancePrior`` from a model folder in diffusers' layout.  Reads local files only, runs no code of theirs.

    Without guidance by text (scale 1): the prompt only names the kind of picture.
    """

    def __init__(self, folder: Path, control_folder: Path | None, title: str, terms: str,
                 device: torch.device | str = "cpu") -> None:
        """``folder`` holds a Stable Diffusion pipeline, ``control_folder`` a ControlNet for tiles, if one is wanted."""
        self.folder, self.control_folder, self.device = Path(folder), control_folder, torch.device(device)
        prints = [fingerprint(path) for path in (self.folder, control_folder) if path is not None]
        self.identity = Identity(title, terms, "+".join(prints))

    def repair(self, views: Sequence[Unseen], seed: int, check: StopCheck = never) -> list[Image]:
        """See ``AppearancePrior``; the views' reference photographs are not looked at.

        Raises:
            InputError: diffusers is missing, or a folder holds no whole pipeline or ControlNet.
            InternGSError: out of memory, or a picture that came back is not finite or blank.
        """
        if not views:
            return []
        with memory_given_back(self.device), explained(self.identity.title, self.folder, SWITCH_OFF):
            return self._run(views, seed, check)

    def _run(self, views: Sequence[Unseen], seed: int, check: StopCheck) -> list[Image]:
        """Load, repair, and let go of the model."""
        check()
        pipeline = _load(self.folder, self.control_folder, self.device)
        with torch.inference_mode():
            return [self._repair_one(pipeline, view.render, seed + number, check)
                    for number, view in enumerate(views)]

    def _repair_one(self, pipeline: Any, render: Image, seed: int, check: StopCheck) -> Image:
        check()
        height, width = render.shape[:2]
        size = working_size(width, height, _trained_px(pipeline), MULTIPLE_PX * int(pipeline.vae_scale_factor))
        picture = PilImage.fromarray(np.round(np.clip(render, 0, 1) * 255).astype(np.uint8))
        picture = picture.resize(size, PilImage.Resampling.LANCZOS)
        arguments: dict[str, Any] = {}
        if self.control_folder is not None:
            arguments = {"control_image": picture, "controlnet_conditioning_scale": CONTROL_SCALE}

        def after_step(_pipeline: Any, _step: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
            check()
            return values

        # The generator lives on the CPU, so that every device starts from the same noise.
        generator = torch.Generator().manual_seed(seed & 0x7FFFFFFF)
        result = pipeline(prompt=PROMPT, image=picture, strength=STRENGTH, num_inference_steps=NOISE_STEPS,
                          guidance_scale=1.0, output_type="np", generator=generator, callback_on_step_end=after_step,
                          **arguments).images[0]
        if not np.isfinite(result).all() or float(np.std(result)) < SMALLEST_SPREAD <= float(render.std()):
            raise InternGSError("prior-no-picture", f"{self.identity.title} gave back no picture.",
                                f"Its weights are damaged, or it cannot run on this device; {SWITCH_OFF} to go on.")
        resized = PilImage.fromarray(np.round(np.clip(result, 0, 1) * 255).astype(np.uint8)).resize(
            (width, height), PilImage.Resampling.LANCZOS)
        return np.asarray(resized, np.float32) / 255.0


def working_size(width_px: int, height_px: int, trained_px: int, multiple_px: int) -> tuple[int, int]:
    """(width, height) of the picture for the model: its shorter side near ``trained_px``, both whole multiples."""
    scale = trained_px / min(width_px, height_px)
    return tuple(max(round(side * scale / multiple_px), 1) * multiple_px  # type: ignore[return-value]
                 for side in (width_px, height_px))


def _trained_px(pipeline: Any) -> int:
    """Side of the pictures that the model was trained with."""
    return int(pipeline.unet.config.sample_size) * int(pipeline.vae_scale_factor)


def _load(folder: Path, control_folder: Path | None, device: torch.device) -> Any:
    """The pipeline, on its device; half precision on CUDA."""
    diffusers, transformers = library("diffusers"), library("transformers")
    for path, name in ((folder, "model_index.json"), (control_folder, "config.json")):
        if path is not None and not (path / name).is_file():
            raise InputError("weights-missing", f"{path} has no {name}, so it is no diffusion model's folder.",
                             f"Point at the folder that holds it, or {SWITCH_OFF}.")
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    parts = {
        "unet": _whole(diffusers.UNet2DConditionModel, folder / "unet", dtype),
        "vae": _whole(diffusers.AutoencoderKL, folder / "vae", dtype),
        "text_encoder": _whole(transformers.CLIPTextModel, folder / "text_encoder", dtype)}
    pipeline_class = diffusers.StableDiffusionImg2ImgPipeline
    if control_folder is not None:
        pipeline_class = diffusers.StableDiffusionControlNetImg2ImgPipeline
        parts["controlnet"] = _load_control(diffusers, control_folder, dtype)
    pipeline = pipeline_class.from_pretrained(
        folder, local_files_only=True, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def _whole(model_class: Any, folder: Path, dtype: torch.dtype, use_safetensors: bool = True) -> Any:
    """A part of the pipeline with every weight from its file: the libraries would make up what is missing."""
    model, loading = model_class.from_pretrained(
        folder, dtype=dtype, local_files_only=True, use_safetensors=use_safetensors, output_loading_info=True)
    absent = sorted(loading["missing_keys"])
    if absent:
        raise InputError("weights-wrong", f"The weights in {folder} lack {len(absent)} tensors of the model that its "
                         f"config.json describes (for example {absent[0]}).",
                         f"Download or add the model again, or {SWITCH_OFF}.")
    return model


def _load_control(diffusers: Any, folder: Path, dtype: torch.dtype) -> Any:
    """The ControlNet; its authors publish it as a pickle of tensors, of which nothing but tensors is read."""
    if not any((folder / name).is_file() for name in CONTROL_WEIGHTS):
        raise InputError("weights-missing", f"{folder} has neither {' nor '.join(CONTROL_WEIGHTS)}.",
                         f"Download the ControlNet again, or {SWITCH_OFF}.")
    return _whole(diffusers.ControlNetModel, folder, dtype, (folder / CONTROL_WEIGHTS[0]).is_file())
