# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads DUSt3R checkpoints in both released layouts, and checks them before anything runs."""

from __future__ import annotations

import argparse
import ast
import json
import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # only the error that torch raises; nothing is unpickled here
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ...errors import InputError
from .configuration import DptWidths, HeadType, NetworkConfig
from .network import Dust3rNetwork

HUB_CONFIG_FILE = "config.json"
HUB_WEIGHTS_FILE = "model.safetensors"
_CONSTRUCTOR_NAME = "AsymmetricCroCo3DStereo"
_REMEDY = "Download the file again, or check it with 'interngs weights verify'."


def load_network(
    path: Path, device: torch.device | str = "cpu", compute_dtype: torch.dtype = torch.float32
) -> Dust3rNetwork:
    """Load a released ``.pth`` file or a hub folder (config.json + model.safetensors), ready to run.

    Args:
        path: the ``.pth`` file, or the folder.
        compute_dtype: see ``Dust3rNetwork``; the heads and weights are float32 always.

    Raises:
        InputError: missing, truncated, no DUSt3R checkpoint, or tensors that do not fit together.
    """
    description, tensors = _read_folder(path) if path.is_dir() else _read_pth(path)
    tensors = complete_tensors(tensors)
    config = configuration_of(description, tensors, path)
    with torch.device("meta"):
        network = Dust3rNetwork(config, compute_dtype)
    _check_tensors(network.state_dict(), tensors, path)
    network.load_state_dict(tensors, strict=True, assign=True)
    return network.float().requires_grad_(False).eval().to(device)


def inspect_checkpoint(path: Path) -> NetworkConfig:
    """Check a checkpoint whole, names, shapes and values, and say which network it is.

    Raises:
        InputError: as ``load_network``.
    """
    return load_network(path).config


def parse_constructor(text: str) -> dict[str, Any]:
    """Keyword arguments of a model's constructor string, read as syntax and never run.

    Literals, tuples, lists, ``inf`` and ``-inf`` are understood; anything else is refused.
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"not a constructor call: {text[:80]!r}") from error
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
        raise ValueError(f"not a constructor call with keywords: {text[:80]!r}")
    if call.func.id != _CONSTRUCTOR_NAME:
        raise ValueError(f"the file describes a network called {call.func.id!r}")
    arguments = {}
    for keyword in call.keywords:
        if keyword.arg is None:
            raise ValueError("the constructor call unpacks a mapping")
        arguments[keyword.arg] = _literal(keyword.value)
    return arguments


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id == "inf":
        return math.inf
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _literal(node.operand)
        if isinstance(value, int | float):
            return -value
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_literal(element) for element in node.elts)
    raise ValueError(f"the constructor call holds something other than plain values: {ast.dump(node)[:80]}")


def _read_pth(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise InputError("weights-missing", f"There is no DUSt3R checkpoint at {path}.",
                         "Run 'interngs weights download dust3r-512-dpt', or 'interngs weights add FILE'.")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, KeyError, ValueError, UnpicklingError,
            zipfile.BadZipFile) as error:
        raise InputError("weights-unreadable", f"{path.name} cannot be read as a checkpoint: it is truncated, "
                         f"damaged, or holds more than tensors ({_first_line(error)}).", _REMEDY) from error
    if not isinstance(content, dict) or not isinstance(content.get("model"), Mapping):
        raise InputError("weights-wrong", f"{path.name} is no DUSt3R checkpoint: it has no table of tensors "
                         "under the name 'model'.", _REMEDY)
    constructor = getattr(content.get("args"), "model", None)
    if not isinstance(constructor, str):
        raise InputError("weights-wrong", f"{path.name} does not say which network it belongs to.", _REMEDY)
    try:
        description = parse_constructor(constructor)
    except ValueError as error:
        raise InputError("weights-wrong", f"{path.name}: {error}.", _REMEDY) from error
    return description, _only_tensors(content["model"], path)


def _read_folder(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    config_path, weights_path = path / HUB_CONFIG_FILE, path / HUB_WEIGHTS_FILE
    for needed in (config_path, weights_path):
        if not needed.is_file():
            raise InputError("weights-missing", f"The folder {path} has no {needed.name}.",
                             f"A DUSt3R folder holds {HUB_CONFIG_FILE} and {HUB_WEIGHTS_FILE}; {_REMEDY}")
    try:
        description = json.loads(config_path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError("weights-wrong", f"{config_path} is no JSON ({_first_line(error)}).", _REMEDY) from error
    if not isinstance(description, dict):
        raise InputError("weights-wrong", f"{config_path} holds no settings of a network.", _REMEDY)
    try:
        tensors = load_file(weights_path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError("weights-unreadable", f"{weights_path} is truncated or damaged "
                         f"({_first_line(error)}).", _REMEDY) from error
    return description, tensors


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:160] if lines else type(error).__name__


def _only_tensors(table: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    tensors = {}
    for name, value in table.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise InputError("weights-wrong", f"{path.name} holds {name!r}, which is no tensor.", _REMEDY)
        tensors[name] = value
    return tensors


def complete_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add what released files leave out: second names of shared tensors, and a lone decoder stack's twin.

    Safetensors files store a shared tensor once (``layerN_rn``, not ``layer_rn.N-1``); a file without
    ``dec_blocks2`` has one stack for both views.
    """
    completed = dict(tensors)
    for name, tensor in tensors.items():
        level = re.fullmatch(r"(.+\.scratch\.)layer([1-4])_rn\.(weight)", name)
        if level:
            completed.setdefault(f"{level[1]}layer_rn.{int(level[2]) - 1}.{level[3]}", tensor)
    if not any(name.startswith("dec_blocks2.") for name in tensors):
        for name, tensor in tensors.items():
            if name.startswith("dec_blocks."):
                completed[name.replace("dec_blocks.", "dec_blocks2.", 1)] = tensor.clone()
    return completed


def configuration_of(
    description: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path
) -> NetworkConfig:
    """Sizes of the network: widths and depths read off the tensors, the rest from the description.

    Raises:
        InputError: description and tensors contradict each other, or name what is not supported.
    """
    def refuse(what: str) -> InputError:
        return InputError("weights-wrong", f"{path.name}: {what}.", _REMEDY)

    try:
        embedding = tensors["patch_embed.proj.weight"].shape
        head: HeadType = "dpt" if "downstream_head1.dpt.head.4.weight" in tensors else "linear"
        config = NetworkConfig(
            image_size_px=_image_size(description["img_size"]),
            head=head,
            encoder_width=embedding[0],
            encoder_depth=_block_count(tensors, "enc_blocks"),
            encoder_heads=int(description["enc_num_heads"]),
            decoder_width=tensors["decoder_embed.weight"].shape[0],
            decoder_depth=_block_count(tensors, "dec_blocks"),
            decoder_heads=int(description["dec_num_heads"]),
            patch_px=embedding[-1],
            dpt=_dpt_widths(tensors) if head == "dpt" else DptWidths(),
        )
    except KeyError as error:
        raise refuse(f"{error.args[0]!r} is missing, so this is no complete DUSt3R checkpoint") from error
    except (TypeError, ValueError, IndexError) as error:
        raise refuse(f"its description cannot be understood ({_first_line(error)})") from error
    stated = {
        "head_type": config.head, "enc_embed_dim": config.encoder_width, "enc_depth": config.encoder_depth,
        "dec_embed_dim": config.decoder_width, "dec_depth": config.decoder_depth,
        "pos_embed": "RoPE100", "output_mode": "pts3d",
        "depth_mode": ("exp", -math.inf, math.inf), "conf_mode": ("exp", 1, math.inf),
    }
    for name, expected in stated.items():
        value = description.get(name, expected)
        if (tuple(value) if isinstance(value, list) else value) != expected:
            raise refuse(f"its description says {name}={value!r}, but {expected!r} is what "
                         "its tensors, or this program, can be")
    for width, heads in ((config.encoder_width, config.encoder_heads), (config.decoder_width, config.decoder_heads)):
        if heads < 1 or width % heads or (width // heads) % 4:
            raise refuse(f"{heads} attention heads do not divide a width of {width}")
    return config


def _image_size(value: Any) -> tuple[int, int]:
    height, width = (value, value) if isinstance(value, int) else value
    return int(height), int(width)


def _block_count(tensors: Mapping[str, Tensor], stack: str) -> int:
    indices = {int(match[1]) for name in tensors if (match := re.match(rf"{stack}\.(\d+)\.", name))}
    if not indices:
        raise KeyError(f"{stack}.0.norm1.weight")
    return max(indices) + 1


def _dpt_widths(tensors: Mapping[str, Tensor]) -> DptWidths:
    prefix = "downstream_head1.dpt."
    levels = [tensors[f"{prefix}scratch.layer{level}_rn.weight"].shape for level in range(1, 5)]
    layers = cast(tuple[int, int, int, int], tuple(shape[1] for shape in levels))
    return DptWidths(layers, feature=levels[0][0], last=tensors[f"{prefix}head.2.weight"].shape[0])


def _check_tensors(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> None:
    """Raise ``InputError`` when names, shapes, or values of ``found`` are not those of a network."""
    missing = sorted(expected.keys() - found.keys())
    extra = sorted(found.keys() - expected.keys())
    if missing or extra:
        example = missing[0] if missing else extra[0]
        raise InputError("weights-wrong", f"{path.name} lacks {len(missing)} and has {len(extra)} tensors too many "
                         f"for the network it describes (for example {example}).", _REMEDY)
    for name, tensor in found.items():
        if tensor.shape != expected[name].shape or not tensor.is_floating_point():
            raise InputError("weights-wrong", f"{path.name}: {name} is {tuple(tensor.shape)} of {tensor.dtype}; "
                             f"{tuple(expected[name].shape)} was expected.", _REMEDY)
        # The sum is finite exactly when every value is (up to overflow, which no weight comes near).
        if not torch.isfinite(tensor.sum(dtype=torch.float64)):
            raise InputError("weights-wrong", f"{path.name}: {name} holds values that are not finite.", _REMEDY)
