# SPDX-License-Identifier: GPL-3.0-or-later
"""The pretrained models this program can use: what each is, weighs, and may be used for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import InputError
from ..geometry.dust3r.configuration import NetworkConfig

Purpose = Literal["geometry", "depth", "appearance"]


@dataclass(frozen=True)
class Model:
    """One pretrained model.

    Attributes:
        name: what people type.
        files: its files in the hub's layout, relative to its folder.
        single_file: the name of its one file where its authors also offer it that way.
        size_bytes: of all files together, about.
        licence, licence_url: of the weights.
        commercial_use: whether that licence allows it.
        network: what a DUSt3R checkpoint under this name must be; ``None`` for other kinds.
    """

    name: str
    title: str
    purpose: Purpose
    hub_repository: str
    files: tuple[str, ...]
    size_bytes: int
    licence: str
    licence_url: str
    commercial_use: bool
    single_file: str | None = None
    network: NetworkConfig | None = None

    @property
    def terms(self) -> str:
        """The licence in one line."""
        return f"{self.licence}; commercial use {'allowed' if self.commercial_use else 'not allowed'}"


def _dust3r(name: str, resolution: int, head: Literal["linear", "dpt"], size_bytes: int) -> Model:
    official = f"DUSt3R_ViTLarge_BaseDecoder_{resolution}_{head}"
    return Model(
        name=name, title=f"DUSt3R ViT-L {resolution} {head}", purpose="geometry",
        hub_repository=f"naver/{official}", files=("config.json", "model.safetensors"), size_bytes=size_bytes,
        licence="CC BY-NC-SA 4.0", licence_url="https://creativecommons.org/licenses/by-nc-sa/4.0/",
        commercial_use=False, single_file=f"{official}.pth",
        network=NetworkConfig(image_size_px=(resolution, resolution), head=head))


CATALOGUE: tuple[Model, ...] = (
    _dust3r("dust3r-512-dpt", 512, "dpt", 2_284_700_000),
    _dust3r("dust3r-512-linear", 512, "linear", 2_129_400_000),
    _dust3r("dust3r-224-linear", 224, "linear", 2_129_400_000),
    Model(
        name="depth-anything-v2-small", title="Depth Anything V2 Small", purpose="depth",
        hub_repository="depth-anything/Depth-Anything-V2-Small-hf",
        files=("config.json", "model.safetensors", "preprocessor_config.json"), size_bytes=99_200_000,
        licence="Apache-2.0", licence_url="https://www.apache.org/licenses/LICENSE-2.0", commercial_use=True),
)

GEOMETRY_MODELS: tuple[str, ...] = tuple(model.name for model in CATALOGUE if model.network is not None)
"""DUSt3R models, the best first."""


def model_called(name: str, catalogue: tuple[Model, ...] = CATALOGUE) -> Model:
    """The model called ``name``.

    Raises:
        InputError: there is none.
    """
    for model in catalogue:
        if model.name == name:
            return model
    raise InputError("model-unknown", f"There is no model called {name!r}.",
                     f"Known are: {', '.join(model.name for model in catalogue)}.")
