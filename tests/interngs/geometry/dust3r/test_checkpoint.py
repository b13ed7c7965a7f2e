# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoints: both layouts load, and everything else is refused with a reason."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from interngs.errors import InputError
from interngs.geometry.dust3r.checkpoint import inspect_checkpoint, load_network, parse_constructor


def read(path: Path) -> dict:
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(path, weights_only=True)


def points(network) -> np.ndarray:
    images = torch.linspace(-1, 1, 3 * 48 * 64).reshape(1, 3, 48, 64)
    with torch.inference_mode():
        return network(images, images.flip(-1)).points_2.numpy()


def test_both_layouts_give_the_same_network(tiny_checkpoint) -> None:
    first, second = load_network(tiny_checkpoint.pth), load_network(tiny_checkpoint.folder)
    assert first.config == second.config
    assert np.array_equal(points(first), points(second))


def test_widths_are_read_off_the_tensors(golden: Path) -> None:
    config = inspect_checkpoint(golden / "tiny_dpt.pth")
    assert (config.encoder_width, config.encoder_depth, config.decoder_width, config.decoder_depth) == (24, 3, 16, 10)
    assert (config.dpt.layers, config.dpt.feature, config.dpt.last) == ((6, 12, 20, 32), 16, 8)


def test_one_decoder_stack_serves_both_views(tiny_checkpoint, tmp_path: Path) -> None:
    content = read(tiny_checkpoint.pth)
    alone = {name: tensor for name, tensor in content["model"].items() if not name.startswith("dec_blocks2.")}
    torch.save({**content, "model": alone}, tmp_path / "alone.pth")
    both = dict(alone)
    both.update({name.replace("dec_blocks.", "dec_blocks2."): tensor for name, tensor in alone.items()
                 if name.startswith("dec_blocks.")})
    torch.save({**content, "model": both}, tmp_path / "both.pth")
    assert np.array_equal(points(load_network(tmp_path / "alone.pth")), points(load_network(tmp_path / "both.pth")))


def test_constructor_is_parsed_and_never_run() -> None:
    parsed = parse_constructor("AsymmetricCroCo3DStereo(depth_mode=('exp', -inf, inf), img_size=(512, 512), n=2)")
    assert parsed == {"depth_mode": ("exp", -float("inf"), float("inf")), "img_size": (512, 512), "n": 2}
    for text in ("__import__('os').system('x')", "AsymmetricCroCo3DStereo(a=open('x'))", "AsymmetricCroCo3DStereo(**x)",
                 "Other(a=1)", "AsymmetricCroCo3DStereo(1)", "AsymmetricCroCo3DStereo(a=1", "a", ""):
        with pytest.raises(ValueError):
            parse_constructor(text)


class Trap:
    """Runs when it is unpickled by a careless reader."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_checkpoint_that_holds_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"model": {}, "args": Trap(tmp_path / "ran")}, tmp_path / "trap.pth")
    with pytest.raises(InputError) as caught:
        load_network(tmp_path / "trap.pth")
    assert caught.value.code == "weights-unreadable"
    assert not (tmp_path / "ran").exists()


def spoil_truncated(source: Path, target: Path) -> None:
    data = source.read_bytes()
    target.write_bytes(data[: len(data) * 2 // 3])


def spoil_text(source: Path, target: Path) -> None:
    target.write_text("not weights")


def spoil_model(change):
    def spoil(source: Path, target: Path) -> None:
        content = read(source)
        change(content)
        torch.save(content, target)
    return spoil


def _nan(content):
    content["model"]["enc_norm.weight"] = content["model"]["enc_norm.weight"] * float("nan")


def _missing(content):
    del content["model"]["dec_blocks.1.mlp.fc1.bias"]


def _extra(content):
    content["model"]["surplus.weight"] = torch.zeros(3)


def _shape(content):
    content["model"]["decoder_embed.bias"] = torch.zeros(7)


def _integer(content):
    content["model"]["enc_norm.bias"] = content["model"]["enc_norm.bias"].long()


def _deeper(content):
    content["args"].model = content["args"].model.replace("enc_depth=2", "enc_depth=3")


def _heads(content):
    content["args"].model = content["args"].model.replace("enc_num_heads=2", "enc_num_heads=3")


def _mode(content):
    content["args"].model = content["args"].model.replace("('exp', -inf, inf)", "('linear', -inf, inf)")


def _no_args(content):
    del content["args"]


def _no_model(content):
    content["weights"] = content.pop("model")


def _not_tensors(content):
    content["model"]["enc_norm.bias"] = "text"


@pytest.mark.parametrize(("spoil", "code"), [
    (spoil_truncated, "weights-unreadable"), (spoil_text, "weights-unreadable"),
    *[(spoil_model(change), "weights-wrong") for change in (
        _nan, _missing, _extra, _shape, _integer, _deeper, _heads, _mode, _no_args, _no_model, _not_tensors)],
], ids=["truncated", "text", "nan", "missing", "extra", "shape", "integer", "deeper", "heads", "mode", "no-args",
        "no-model", "not-tensors"])
def test_spoiled_pth_is_refused(tiny_checkpoint, tmp_path: Path, spoil, code: str) -> None:
    spoil(tiny_checkpoint.pth, tmp_path / "spoiled.pth")
    with pytest.raises(InputError) as caught:
        load_network(tmp_path / "spoiled.pth")
    assert caught.value.code == code
    assert "spoiled.pth" in caught.value.cause and caught.value.remedy


def test_spoiled_folder_is_refused(tiny_checkpoint, tmp_path: Path) -> None:
    def attempt(code: str) -> None:
        with pytest.raises(InputError) as caught:
            load_network(tmp_path)
        assert caught.value.code == code

    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    attempt("weights-missing")
    config.write_bytes((tiny_checkpoint.folder / "config.json").read_bytes())
    attempt("weights-missing")
    data = (tiny_checkpoint.folder / "model.safetensors").read_bytes()
    weights.write_bytes(data[:-100])
    attempt("weights-unreadable")
    weights.write_bytes(data)
    load_network(tmp_path)
    config.write_text("{")
    attempt("weights-wrong")
    settings = json.loads((tiny_checkpoint.folder / "config.json").read_text())
    del settings["enc_num_heads"]
    config.write_text(json.dumps(settings))
    attempt("weights-wrong")
    config.write_bytes((tiny_checkpoint.folder / "config.json").read_bytes())
    tensors = load_file(weights)
    save_file({name: tensor for name, tensor in tensors.items() if "enc_blocks" not in name}, weights)
    attempt("weights-wrong")


def test_missing_file_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="interngs weights"):
        load_network(tmp_path / "nothing.pth")
