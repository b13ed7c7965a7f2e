# SPDX-License-Identifier: GPL-3.0-or-later
"""Repair of renders through diffusers: tiny pipelines in the official layout, loaded, run, and refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from interngs.errors import InternGSError
from interngs.priors import appearance as appearance_module
from interngs.priors.appearance import DiffusionRepair, working_size
from interngs.priors.contracts import Unseen
from interngs.stopping import Stopped, stop_check

RNG = np.random.default_rng(0)
RENDERS = [RNG.uniform(size=(24, 40, 3)).astype(np.float32), RNG.uniform(size=(40, 24, 3)).astype(np.float32)]
VIEWS = [Unseen(render, render) for render in RENDERS]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps instead of ten."""
    monkeypatch.setattr(appearance_module, "NOISE_STEPS", 10)


def refused(repair: DiffusionRepair, code: str) -> InternGSError:
    with pytest.raises(InternGSError) as caught:
        repair.repair(VIEWS[:1], 0)
    assert caught.value.code == code, caught.value
    assert "--appearance-prior none" in caught.value.remedy
    return caught.value


@pytest.mark.parametrize("control", [None, "safetensors", "pickle of tensors"])
def test_pictures_come_back_at_their_size_and_the_seed_decides(
        diffusion_folder: Path, control_folder: Path, make_model, tmp_path: Path, control: str | None) -> None:
    folder = None
    if control == "safetensors":
        folder = control_folder
    elif control:
        folder = make_model["control"](tmp_path / "control", safe=False)
        assert not list(folder.glob("*.safetensors"))
    repair = DiffusionRepair(diffusion_folder, folder, "Tiny", "MIT")
    first = repair.repair(VIEWS, 3)
    assert [picture.shape for picture in first] == [(24, 40, 3), (40, 24, 3)]
    assert all(p.dtype == np.float32 and p.min() >= 0 and p.max() <= 1 and p.std() > 0 for p in first)
    again, other = repair.repair(VIEWS[:1], 3), repair.repair(VIEWS[:1], 4)
    assert np.array_equal(first[0], again[0]) and not np.array_equal(first[0], other[0])


def test_a_stop_is_heard_between_two_steps_of_the_noise_schedule(diffusion_folder: Path, monkeypatch) -> None:
    from diffusers import UNet2DConditionModel

    calls, real = [], UNet2DConditionModel.forward
    monkeypatch.setattr(UNet2DConditionModel, "forward",
                        lambda *given, **named: calls.append(1) or real(*given, **named))
    repair = DiffusionRepair(diffusion_folder, None, "Tiny", "MIT")
    repair.repair(VIEWS, 3)
    assert len(calls) == 4, "two steps for each of two pictures"
    for enough in (0, 1, 3):
        calls.clear()
        with pytest.raises(Stopped):
            repair.repair(VIEWS, 3, stop_check(lambda enough=enough: len(calls) >= enough))
        assert len(calls) == enough


def test_the_control_net_has_a_say(diffusion_folder: Path, control_folder: Path, tmp_path: Path) -> None:
    loud = tmp_path / "loud"
    shutil.copytree(control_folder, loud)
    file = loud / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor + 0.5 * ("controlnet_" in name) for name, tensor in load_file(file).items()}, file)
    plain = DiffusionRepair(diffusion_folder, None, "Tiny", "MIT").repair(VIEWS[:1], 0)[0]
    # A new ControlNet starts with zero convolutions and changes nothing.
    new, strong = (DiffusionRepair(diffusion_folder, folder, "Tiny", "MIT").repair(VIEWS[:1], 0)[0]
                   for folder in (control_folder, loud))
    assert np.abs(new - plain).max() < 0.01 < np.abs(strong - plain).max()


def test_working_sizes() -> None:
    assert working_size(504, 378, 512, 64) == (704, 512)
    assert working_size(378, 504, 512, 64) == (512, 704)
    assert working_size(2000, 10, 512, 64)[1] == 512


def test_folders_of_another_kind_are_refused(tmp_path: Path, diffusion_folder: Path, depth_folder: Path) -> None:
    refused(DiffusionRepair(depth_folder, None, "Tiny", ""), "weights-missing")
    refused(DiffusionRepair(diffusion_folder, diffusion_folder, "Tiny", ""), "weights-missing")
    refused(DiffusionRepair(diffusion_folder, depth_folder, "Tiny", ""), "weights-missing")
    broken = tmp_path / "broken"
    shutil.copytree(diffusion_folder, broken)
    (broken / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    refused(DiffusionRepair(broken, None, "Tiny", ""), "weights-wrong")
    (broken / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    refused(DiffusionRepair(broken, None, "Tiny", ""), "weights-wrong")


def test_damaged_weights_and_useless_output_are_errors(tmp_path: Path, diffusion_folder: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(diffusion_folder, copy)
    file = copy / "vae" / "diffusion_pytorch_model.safetensors"
    whole = file.read_bytes()
    tensors = load_file(file)
    save_file(tensors | {"decoder.conv_out.bias": torch.full((3,), float("nan"))}, file, metadata={"format": "pt"})
    refused(DiffusionRepair(copy, None, "Tiny", ""), "prior-no-picture")
    save_file(tensors | {"decoder.conv_out.bias": torch.full((3,), 1e6)}, file, metadata={"format": "pt"})
    refused(DiffusionRepair(copy, None, "Tiny", ""), "prior-no-picture")
    save_file({n: t for n, t in tensors.items() if n != "decoder.conv_out.bias"}, file, metadata={"format": "pt"})
    refused(DiffusionRepair(copy, None, "Tiny", ""), "weights-wrong")
    file.write_bytes(whole[:-50])
    refused(DiffusionRepair(copy, None, "Tiny", ""), "weights-wrong")


def test_short_memory_says_what_to_do(diffusion_folder: Path, monkeypatch) -> None:
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(appearance_module, "_load", fail)
    refused(DiffusionRepair(diffusion_folder, None, "Tiny", ""), "out-of-memory")


def test_memory_that_runs_out_inside_the_library_while_it_loads(diffusion_folder: Path, monkeypatch) -> None:
    from diffusers import UNet2DConditionModel

    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(UNet2DConditionModel, "from_pretrained", fail)
    refused(DiffusionRepair(diffusion_folder, None, "Tiny", ""), "out-of-memory")


@pytest.mark.gpu
def test_cuda_repairs_too(diffusion_folder: Path, control_folder: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    here, there = (DiffusionRepair(diffusion_folder, control_folder, "Tiny", "MIT", device).repair(VIEWS, 0)
                   for device in ("cpu", "cuda"))
    assert np.abs(here[0] - there[0]).mean() < 0.05
    assert torch.cuda.memory_allocated() == 0
