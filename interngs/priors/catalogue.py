# SPDX-License-Identifier: GPL-3.0-or-later
"""The pretrained models this program can use: what each is, weighs, and may be used for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import InputError
from ..geometry.dust3r.configuration import NetworkConfig

Purpose = Literal["geometry", "depth", "appearance"]


@dataclass(frozen=True)
class Model:
    """One pretrained model.

    Attributes:
        name: what people type.
        files: its files in the hub's layout, relative to its folder; ``"a|b"`` where either of two is enough.
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

    @property
    def file_names(self) -> list[str]:
        """Every name in ``files``, alternatives too."""
        return [name for entry in self.files for name in entry.split("|")]

    def files_in(self, folder: Path) -> list[str]:
        """The model's files that are in ``folder``, of alternatives the first one."""
        found = (next((name for name in entry.split("|") if (folder / name).is_file()), None) for entry in self.files)
        return [name for name in found if name is not None]

    def missing_in(self, folder: Path) -> str | None:
        """An entry of ``files`` that ``folder`` lacks, in words; ``None`` when it is whole."""
        for entry in self.files:
            names = entry.split("|")
            if not any((folder / name).is_file() for name in names):
                return " or ".join(names)
        return None


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
    Model(
        name="stable-diffusion-1-5", title="Stable Diffusion 1.5", purpose="appearance",
        hub_repository="stable-diffusion-v1-5/stable-diffusion-v1-5",
        files=("model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json",
               "text_encoder/model.safetensors", "tokenizer/tokenizer_config.json",
               # Newer versions of transformers save all of a tokenizer in one file.
               "tokenizer/merges.txt|tokenizer/tokenizer.json", "tokenizer/vocab.json|tokenizer/tokenizer.json",
               "tokenizer/special_tokens_map.json|tokenizer/tokenizer.json", "unet/config.json",
               "unet/diffusion_pytorch_model.safetensors", "vae/config.json",
               "vae/diffusion_pytorch_model.safetensors"), size_bytes=4_266_000_000,
        licence="CreativeML OpenRAIL-M (with restrictions of use)",
        licence_url="https://huggingface.co/spaces/CompVis/stable-diffusion-license", commercial_use=True),
    Model(
        name="controlnet-1-1-tile", title="ControlNet 1.1 tile", purpose="appearance",
        hub_repository="lllyasviel/control_v11f1e_sd15_tile",
        files=("config.json", "diffusion_pytorch_model.safetensors|diffusion_pytorch_model.bin"),
        size_bytes=1_445_000_000, licence="OpenRAIL (with restrictions of use)",
        licence_url="https://huggingface.co/lllyasviel/control_v11f1e_sd15_tile", commercial_use=True),
)

GEOMETRY_MODELS: tuple[str, ...] = tuple(model.name for model in CATALOGUE if model.network is not None)
"""DUSt3R models, the best first."""
DEPTH_MODEL = "depth-anything-v2-small"
"""The monocular depth network that is taken when none is named."""
DIFFUSION_MODEL, CONTROL_MODEL = "stable-diffusion-1-5", "controlnet-1-1-tile"
"""What repairs renders, and the ControlNet that keeps it to their layout."""


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
