# SPDX-License-Identifier: GPL-3.0-or-later
"""Monocular depth through transformers: tiny models in the official layout, loaded, run, cached, and refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from interngs.errors import InternGSError
from interngs.priors import depth as depth_module
from interngs.priors.depth import TransformersDepth
from interngs.priors.depth_cache import DepthCache
from interngs.stopping import Stopped, stop_check

RNG = np.random.default_rng(0)
PICTURES = [RNG.uniform(size=(42, 56, 3)).astype(np.float32), RNG.uniform(size=(42, 56, 3)).astype(np.float32),
            RNG.uniform(size=(56, 42, 3)).astype(np.float32)]


def prior(folder: Path) -> TransformersDepth:
    return TransformersDepth(folder, "Tiny Depth", "MIT; commercial use allowed")


def refused(folder: Path, code: str) -> InternGSError:
    with pytest.raises(InternGSError) as caught:
        prior(folder).inverse_depth(PICTURES[:1])
    assert caught.value.code == code, caught.value
    assert "--depth-prior none" in caught.value.remedy
    return caught.value


@pytest.fixture
def copy(depth_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(depth_folder, tmp_path / "copy"))


def change_tensors(folder: Path, change) -> None:
    file = folder / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    save_file(change(tensors), file, metadata={"format": "pt"})


def test_pictures_of_any_size_in_their_order(depth_folder: Path) -> None:
    network = prior(depth_folder)
    together = network.inverse_depth(PICTURES)
    assert [values.shape for values in together] == [(42, 56), (42, 56), (56, 42)]
    assert all(values.dtype == np.float32 and np.isfinite(values).all() and values.std() > 0 for values in together)
    for picture, values in zip(PICTURES, together, strict=True):
        assert np.allclose(network.inverse_depth([picture])[0], values, atol=1e-5)
    assert not np.allclose(together[0], together[1])


def test_the_network_is_the_library_s_own(depth_folder: Path) -> None:
    """Against the library's pipeline, which does everything itself."""
    from PIL import Image
    from transformers import pipeline

    picture = np.round(PICTURES[0] * 255).astype(np.uint8)
    expected = pipeline("depth-estimation", model=str(depth_folder), device="cpu")(Image.fromarray(picture))
    predicted = prior(depth_folder).inverse_depth([picture.astype(np.float32) / 255])[0]
    assert np.allclose(predicted, expected["predicted_depth"].numpy().reshape(42, 56), atol=1e-4)


def test_depth_becomes_inverse_depth(make_model, tmp_path: Path) -> None:
    folder = make_model["depth"](tmp_path / "metric", metric=True)
    assert json.loads((folder / "config.json").read_text())["depth_estimation_type"] == "metric"
    inverted = prior(folder).inverse_depth(PICTURES[:1])[0]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"depth_estimation_type": "relative"}))
    # The same tensors read as a relative model end in another activation, but nearer stays nearer: signs differ.
    assert (inverted > 0).all()
    other = prior(folder).inverse_depth(PICTURES[:1])[0]
    assert np.corrcoef(inverted.ravel(), other.ravel())[0, 1] < 0


def test_the_fingerprint_follows_the_files(depth_folder: Path, copy: Path) -> None:
    assert prior(copy).identity.fingerprint == prior(depth_folder).identity.fingerprint
    change_tensors(copy, lambda tensors: tensors | {name: t + 1 for name, t in list(tensors.items())[:1]})
    assert prior(copy).identity.fingerprint != prior(depth_folder).identity.fingerprint


def test_cached_by_picture_and_model(depth_folder: Path, copy: Path, tmp_path: Path, monkeypatch) -> None:
    cache, network = DepthCache(tmp_path / "cache"), prior(depth_folder)
    first = cache.inverse_depth(network, PICTURES)
    looked_at = []
    real = depth_module._predict
    monkeypatch.setattr(depth_module, "_predict", lambda n, p, images, d: looked_at.append(len(images))
                        or real(n, p, images, d))
    again = cache.inverse_depth(network, PICTURES)
    assert not looked_at
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    changed = PICTURES[0].copy()
    changed[0, 0] += 0.5
    cache.inverse_depth(network, [changed, *PICTURES[1:]])
    assert looked_at == [1]
    change_tensors(copy, lambda tensors: tensors | {"head.conv3.bias": tensors["head.conv3.bias"] + 1})
    other = cache.inverse_depth(prior(copy), PICTURES[:1])[0]
    assert looked_at == [1, 1] and not np.array_equal(other, first[0])
    for file in (tmp_path / "cache").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    looked_at.clear()
    assert np.array_equal(cache.inverse_depth(network, PICTURES[:1])[0], first[0])
    assert looked_at == [1]


def test_folders_of_another_kind_are_refused(tmp_path: Path, copy: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "weights-missing")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert "does not estimate depth" in refused(copy, "weights-wrong").cause
    (copy / "config.json").write_text(json.dumps({"model_type": "no-such-thing"}))
    refused(copy, "weights-wrong")
    (copy / "config.json").write_text("{nonsense")
    refused(copy, "weights-wrong")
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "preprocessor_config.json").unlink()
    refused(copy, "weights-wrong")


def test_incomplete_and_damaged_weights_are_refused(copy: Path) -> None:
    whole = (copy / "model.safetensors").read_bytes()
    change_tensors(copy, lambda tensors: {name: t for name, t in tensors.items() if name != "head.conv3.bias"})
    assert "head.conv3.bias" in refused(copy, "weights-wrong").cause
    (copy / "model.safetensors").write_bytes(whole)
    change_tensors(copy, lambda tensors: tensors | {"head.conv3.bias": torch.zeros(7)})
    refused(copy, "weights-wrong")
    (copy / "model.safetensors").write_bytes(whole[:-100])
    refused(copy, "weights-wrong")
    (copy / "model.safetensors").unlink()
    refused(copy, "weights-wrong")


def test_weights_as_pickle_are_not_read(copy: Path) -> None:
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    refused(copy, "weights-wrong")


@pytest.mark.parametrize(("spoil", "code"), [
    (lambda tensors: tensors | {"head.conv3.bias": torch.full((1,), float("nan"))}, "prior-not-finite"),
    (lambda tensors: tensors | {"head.conv3.bias": torch.full((1,), -1e6)}, "prior-constant"),
])
def test_useless_output_is_an_error(copy: Path, spoil, code: str) -> None:
    change_tensors(copy, spoil)
    refused(copy, code)


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("CUDA out of memory"), MemoryError(),
    RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes")])
@pytest.mark.parametrize("where", ["_load", "_predict"])
def test_short_memory_says_what_to_do(depth_folder: Path, monkeypatch, error: Exception, where: str) -> None:
    def fail(*_):
        raise error

    monkeypatch.setattr(depth_module, where, fail)
    refused(depth_folder, "out-of-memory")


def test_memory_that_runs_out_inside_the_library_while_it_loads(depth_folder: Path, monkeypatch) -> None:
    import transformers

    def fail(*_, **__):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(transformers.AutoModelForDepthEstimation, "from_pretrained", fail)
    refused(depth_folder, "out-of-memory")


def test_a_missing_library_says_how_to_install_it(depth_folder: Path, monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InternGSError) as caught:
        prior(depth_folder).inverse_depth(PICTURES[:1])
    assert caught.value.code == "library-missing" and "interngs[priors]" in caught.value.remedy


def test_a_stop_is_heard_before_every_call_of_the_network(depth_folder: Path, monkeypatch) -> None:
    looked, real = [], depth_module._predict
    monkeypatch.setattr(depth_module, "_predict", lambda *given: looked.append(1) or real(*given))
    for enough in (0, 1, 2):
        looked.clear()
        with pytest.raises(Stopped):
            prior(depth_folder).inverse_depth(PICTURES, stop_check(lambda enough=enough: len(looked) >= enough))
        assert len(looked) == enough


def test_nothing_to_do_loads_nothing(tmp_path: Path) -> None:
    assert prior(tmp_path).inverse_depth([]) == []


def test_one_flat_picture_is_no_failure(depth_folder: Path, monkeypatch) -> None:
    real = depth_module._predict
    monkeypatch.setattr(depth_module, "_predict", lambda *given: [
        values if values.shape != (56, 42) else np.full_like(values, 3.0) for values in real(*given)])
    results = prior(depth_folder).inverse_depth(PICTURES)
    assert results[0].std() > 0 and results[2].std() == 0


@pytest.mark.gpu
def test_cuda_gives_the_same_depth(depth_folder: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    network = TransformersDepth(depth_folder, "Tiny Depth", "MIT", "cuda")
    for here, there in zip(prior(depth_folder).inverse_depth(PICTURES), network.inverse_depth(PICTURES), strict=True):
        assert np.abs(here - there).max() < 1e-2 * np.abs(here).max()
    assert torch.cuda.memory_allocated() == 0
