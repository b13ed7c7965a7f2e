# SPDX-License-Identifier: GPL-3.0-or-later
"""LPIPS-SqueezeNet, a learned perceptual distance, from weight files that the user points at.

Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", section 3, with the
SqueezeNet 1.1 backbone and the published linear weights version 0.1.  Papers of the field mostly report the VGG
variant: figures of the two must not be compared, so this one always carries its full name.  It can be learned from
as well as measured with: gradients flow to the images.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import InputError
from .metrics import as_float64

# Input normalisation of the metric, for images in -1..1.
CHANNEL_SHIFT = (-0.030, -0.088, -0.188)
CHANNEL_SCALE = (0.458, 0.448, 0.450)

# SqueezeNet 1.1: a convolution, then fire modules (index in the published weights, squeeze and expand channels);
# a list per stage, max-pooling before each stage but the first.  A tap follows every group.
FIRE_GROUPS = (((3, 64, 16, 64), (4, 128, 16, 64)), ((6, 128, 32, 128), (7, 256, 32, 128)), ((9, 256, 48, 192),),
               ((10, 384, 48, 192),), ((11, 384, 64, 256),), ((12, 512, 64, 256),))
POOLED_GROUPS = 3
TAP_CHANNELS = (64, 128, 256, 384, 384, 512, 512)
SMALLEST_SIDE_PX = 35


def _backbone_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"0.weight": (64, 3, 3, 3), "0.bias": (64,)}
    for index, channels, squeeze, expand in (fire for group in FIRE_GROUPS for fire in group):
        for part, shape in (("squeeze", (squeeze, channels, 1, 1)), ("expand1x1", (expand, squeeze, 1, 1)),
                            ("expand3x3", (expand, squeeze, 3, 3))):
            shapes[f"{index}.{part}.weight"] = shape
            shapes[f"{index}.{part}.bias"] = shape[:1]
    return shapes


class Lpips:
    """The distance with its weights; 0 for equal images, larger for less alike ones."""

    name = "LPIPS-SqueezeNet"
    terms = "BSD-2-Clause (LPIPS v0.1) and BSD-3-Clause (SqueezeNet 1.1); commercial use allowed"

    def __init__(self, backbone: dict[str, Tensor], linear: dict[str, Tensor]) -> None:
        self._backbone = backbone
        self._linear = [linear[f"lin{tap}.model.1.weight"] for tap in range(len(TAP_CHANNELS))]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the weights, in hexadecimal."""
        digest = hashlib.sha256()
        for tensor in (*(self._backbone[name] for name in sorted(self._backbone)), *self._linear):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def to(self, device: torch.device) -> Lpips:
        """The same distance with its weights on ``device``."""
        return Lpips({name: tensor.to(device) for name, tensor in self._backbone.items()},
                     {f"lin{tap}.model.1.weight": tensor.to(device) for tap, tensor in enumerate(self._linear)})

    @classmethod
    def from_files(cls, backbone: Path, linear: Path) -> Lpips:
        """Load SqueezeNet 1.1 features and the LPIPS linear weights, both as safetensors.

        Raises:
            InputError: for a file that is missing, damaged or holds other tensors than these.
        """
        linear_shapes: dict[str, tuple[int, ...]] = {
            f"lin{tap}.model.1.weight": (1, channels, 1, 1) for tap, channels in enumerate(TAP_CHANNELS)}
        return cls(_load_checked(Path(backbone), _backbone_shapes(), "the SqueezeNet 1.1 features"),
                   _load_checked(Path(linear), linear_shapes, "the LPIPS v0.1 linear weights for SqueezeNet"))

    def __call__(self, image: Any, reference: Any, mask: Any = None) -> float:
        """Distance of two images [H, W, 3] in 0..1 (numpy or torch), both sides at least 35 px.

        With a mask [H, W] both images are composited on white first, since the network sees neighbourhoods.
        """
        pair = []
        for picture in (image, reference):
            values = as_float64(picture)
            if mask is not None:
                weights = as_float64(mask)[..., None]
                values = values * weights + (1.0 - weights)
            pair.append(torch.from_numpy(values).float().permute(2, 0, 1)[None] * 2.0 - 1.0)
        return float(self.distance(*pair)[0])

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances [N] of image batches [N, 3, H, W] float32 in -1..1, differentiable, on the weights' device.

        Raises:
            ValueError: for shapes that do not fit, or sides under 35 px.
        """
        if a.shape != b.shape or a.ndim != 4 or a.shape[1] != 3 or min(a.shape[2:]) < SMALLEST_SIDE_PX:
            raise ValueError(f"batches must share one shape [N, 3, H, W] with sides of {SMALLEST_SIDE_PX} px or more, "
                             f"not {tuple(a.shape)} and {tuple(b.shape)}")
        total = torch.zeros(len(a), device=a.device)
        for features_a, features_b, weight in zip(self._taps(a), self._taps(b), self._linear, strict=True):
            difference = (_unit(features_a) - _unit(features_b)) ** 2
            total = total + F.conv2d(difference, weight).mean(dim=(1, 2, 3))
        return total

    def _taps(self, image: Tensor) -> list[Tensor]:
        """The seven feature maps that are compared."""
        shift, scale = (torch.tensor(values, device=image.device).view(1, 3, 1, 1)
                        for values in (CHANNEL_SHIFT, CHANNEL_SCALE))
        x = (image - shift) / scale
        x = F.relu(F.conv2d(x, self._backbone["0.weight"], self._backbone["0.bias"], stride=2))
        taps = [x]
        for place, group in enumerate(FIRE_GROUPS):
            if place < POOLED_GROUPS:
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            for index, *_ in group:
                x = self._fire(x, index)
            taps.append(x)
        return taps

    def _fire(self, x: Tensor, index: int) -> Tensor:
        weights = self._backbone
        squeezed = F.relu(F.conv2d(x, weights[f"{index}.squeeze.weight"], weights[f"{index}.squeeze.bias"]))
        narrow = F.conv2d(squeezed, weights[f"{index}.expand1x1.weight"], weights[f"{index}.expand1x1.bias"])
        wide = F.conv2d(squeezed, weights[f"{index}.expand3x3.weight"], weights[f"{index}.expand3x3.bias"], padding=1)
        return F.relu(torch.cat([narrow, wide], dim=1))


def _unit(features: Tensor) -> Tensor:
    """Feature vectors of unit length along the channels; a zero vector stays zero."""
    return features / (features.norm(dim=1, keepdim=True) + 1e-10)


def _load_checked(path: Path, shapes: dict[str, tuple[int, ...]], what: str) -> dict[str, Tensor]:
    """Tensors of a safetensors file, every name and shape as expected."""
    remedy = f"Point at the file that holds {what} (README, section on weights)."
    if not path.is_file():
        raise InputError("weights-missing", f"There is no weight file {path}.", remedy)
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise InputError("weights-damaged", f"{path} is no whole safetensors file ({error}).", remedy) from error
    for name, shape in shapes.items():
        if name not in tensors or tuple(tensors[name].shape) != shape:
            found = tuple(tensors[name].shape) if name in tensors else "nothing"
            raise InputError("weights-wrong", f"{path} holds {found} as {name!r} where {what} have {shape}.", remedy)
    return {name: tensors[name].float() for name in shapes}
