# SPDX-License-Identifier: GPL-3.0-or-later
"""The network against the official one's numbers."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from interngs.geometry.dust3r.checkpoint import complete_tensors, configuration_of, load_network, parse_constructor
from interngs.geometry.dust3r.configuration import NetworkConfig
from interngs.geometry.dust3r.network import Dust3rNetwork

TOLERANCE = 1e-4
CASES = ("landscape_landscape", "landscape_portrait", "portrait_landscape", "portrait_portrait", "wide", "square",
         "symmetrized_batch4", "plain_batch2")


def assert_close(found, expected, what: str) -> None:
    """Within 1e-4 of the largest value."""
    found = found.numpy() if isinstance(found, torch.Tensor) else found
    assert found.shape == expected.shape, what
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert error <= TOLERANCE, f"{what}: {error:.2e}"


def assert_prediction(prediction, arrays, prefix: str, every: slice = slice(None)) -> None:
    for name, values in (("pts3d_1", prediction.points_1), ("conf_1", prediction.confidence_1),
                         ("pts3d_in_other_view_2", prediction.points_2), ("conf_2", prediction.confidence_2)):
        assert_close(values[:, every, every], arrays[prefix + name], prefix + name)


@pytest.mark.parametrize("layout", [".pth", "_hub"])
@pytest.mark.parametrize("model", ["tiny_linear", "tiny_dpt"])
def test_tiny_networks_equal_the_official_one(golden: Path, model: str, layout: str) -> None:
    network = load_network(golden / f"{model}{layout}")
    arrays = np.load(golden / f"{model}_io.npz")
    for case in CASES:
        images_1, images_2 = (torch.from_numpy(arrays[f"{case}/img{view}"]) for view in (1, 2))
        with torch.inference_mode():
            assert_prediction(network(images_1, images_2), arrays, f"{case}/")


@pytest.mark.parametrize("model", ["tiny_linear", "tiny_dpt"])
def test_tokens_along_the_way(golden: Path, model: str) -> None:
    network = load_network(golden / f"{model}.pth")
    arrays = np.load(golden / f"{model}_io.npz")
    case = "landscape_landscape/"
    with torch.inference_mode():
        encoded = [network.encode(torch.from_numpy(arrays[f"{case}img{view}"])) for view in (1, 2)]
        tokens = network.decode_tokens(*encoded)
    assert len(tokens[0]) == len(tokens[1]) == int(arrays["n_dec_outputs"])
    compared = 0
    for view in (1, 2):
        assert_close(encoded[view - 1].tokens, arrays[f"{case}enc_tokens_{view}"], f"encoder {view}")
        for layer, values in enumerate(tokens[view - 1]):
            name = f"{case}dec_tokens_{view}_layer{layer}"
            if name in arrays:
                assert_close(values, arrays[name], name)
                compared += 1
    assert compared >= 6


@pytest.mark.parametrize("model", ["tiny_linear", "tiny_dpt"])
def test_training_time_layout_is_the_same_network_on_turned_images(golden: Path, model: str) -> None:
    """In training, portrait images lie on their side in the batch; standing them up gives the same points."""
    network = load_network(golden / f"{model}.pth")
    arrays = np.load(golden / f"{model}_manyar_landscape_only_io.npz")
    for entry in range(len(arrays["img1"])):
        turned = [bool(arrays[f"true_shape{view}"][entry][0] > arrays[f"true_shape{view}"][entry][1])
                  for view in (1, 2)]
        images = [torch.from_numpy(arrays[f"img{view}"][entry:entry + 1]) for view in (1, 2)]
        images = [image.transpose(-1, -2) if turn else image for image, turn in zip(images, turned, strict=True)]
        with torch.inference_mode():
            out = network(*(image.contiguous() for image in images))
        for name, values, turn in (("pts3d_1", out.points_1, turned[0]), ("conf_1", out.confidence_1, turned[0]),
                                   ("pts3d_in_other_view_2", out.points_2, turned[1]),
                                   ("conf_2", out.confidence_2, turned[1])):
            expected = arrays[name][entry:entry + 1]
            assert_close(values.transpose(1, 2) if turn else values, expected, f"{name} of entry {entry}")


@pytest.mark.parametrize(("file", "config"), [
    ("vitl_512_dpt", NetworkConfig((512, 512), "dpt")),
    ("vitl_512_linear", NetworkConfig((512, 512), "linear")),
    ("vitl_224_linear", NetworkConfig((224, 224), "linear")),
])
def test_released_tensor_names_and_shapes(golden: Path, file: str, config: NetworkConfig) -> None:
    listed = json.loads((golden / f"{file}_keys.json").read_text())
    with torch.device("meta"):
        network = Dust3rNetwork(config)
    assert {name: list(tensor.shape) for name, tensor in network.state_dict().items()} == listed["keys"]
    assert sum(parameter.numel() for parameter in network.parameters()) == listed["n_unique_parameters"]
    shared = {frozenset(names) for names in listed["shared_names"]}
    tensors = network.state_dict(keep_vars=True)
    assert all(len({id(tensors[name]) for name in names}) == 1 for names in shared)
    # A loader sees names and shapes alone; it must come to the same network.
    description = parse_constructor(listed["args_model_string"])
    assert configuration_of(description, tensors, Path(file)) == config


def _recipe_network(golden: Path, meta: dict) -> Dust3rNetwork:
    """A network whose weights are computed from the tensors' names."""
    spec = importlib.util.spec_from_file_location("golden_inputs", golden / "golden_inputs.py")
    assert spec and spec.loader
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    description = parse_constructor(meta["model_string_at_inference"])
    config = NetworkConfig(
        description["img_size"], description["head_type"], description["enc_embed_dim"], description["enc_depth"],
        description["enc_num_heads"], description["dec_embed_dim"], description["dec_depth"],
        description["dec_num_heads"])
    with torch.device("meta"):
        network = Dust3rNetwork(config)
    tensors = {}
    for name, tensor in network.state_dict().items():
        if recipe.canonical_name(name) == name:
            tensors[name] = torch.from_numpy(
                recipe.recipe_weight(name, tuple(tensor.shape), meta["gains"].get(name, 1.0)))
    for name, values in meta["first_values"].items():
        assert tensors[name].flatten()[:4].tolist() == values
    network.load_state_dict(complete_tensors(tensors), assign=True)
    return network.eval().requires_grad_(False)


def _check_recipe(golden: Path, file: str) -> None:
    arrays = np.load(golden / file)
    meta = json.loads(str(arrays["meta_json"]))
    network = _recipe_network(golden, meta)
    assert sum(parameter.numel() for parameter in network.parameters()) == meta["unique_parameters"]
    inputs = np.load(golden / "tiny_linear_io.npz")
    cases = {name.partition("/")[0] for name in arrays.files if "/" in name}
    assert "landscape_landscape" in cases
    for case in sorted(cases):
        if case.startswith("full_"):
            spec = importlib.util.spec_from_file_location("golden_inputs", golden / "golden_inputs.py")
            recipe = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(recipe)
            images = [torch.from_numpy(recipe.normalise(recipe.texture(384, 512, x, y)))[None]
                      for x, y in ((0, 0), (37, -11))]
            every = slice(4, None, 8)
        else:
            images = [torch.from_numpy(inputs[f"{case}/img{view}"]) for view in (1, 2)]
            every = slice(None)
        with torch.inference_mode():
            assert_prediction(network(*images), arrays, f"{case}/", every)


def test_released_head_widths_equal_the_official_network(golden: Path) -> None:
    _check_recipe(golden, "recipe_small_dpt_out.npz")


@pytest.mark.slow
@pytest.mark.parametrize("file", ["recipe_vitl_512_linear_out.npz", "recipe_vitl_512_dpt_out.npz"])
def test_full_size_equals_the_official_network(golden: Path, file: str) -> None:
    if not (golden / file).is_file():
        pytest.skip(f"shared data absent: {file}")
    _check_recipe(golden, file)


def test_half_precision_keeps_heads_in_float32(golden: Path) -> None:
    network = load_network(golden / "tiny_dpt.pth", compute_dtype=torch.bfloat16)
    arrays = np.load(golden / "tiny_dpt_io.npz")
    with torch.inference_mode():
        encoded = network.encode(torch.from_numpy(arrays["square/img1"]))
        out = network(torch.from_numpy(arrays["square/img1"]), torch.from_numpy(arrays["square/img2"]))
    assert encoded.tokens.dtype in (torch.bfloat16, torch.float32)
    assert out.points_1.dtype == out.confidence_2.dtype == torch.float32
    expected = arrays["square/pts3d_1"]
    error = np.abs(out.points_1.numpy() - expected).max() / np.abs(expected).max()
    assert TOLERANCE < error < 0.05  # rounded, and only rounded


def test_images_must_be_whole_patches() -> None:
    network = Dust3rNetwork(NetworkConfig((64, 64), "linear", 24, 1, 2, 16, 1, 2))
    with pytest.raises(ValueError, match="multiple of the patch size"):
        network.encode(torch.zeros(1, 3, 40, 64))


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "limit"), [
    (torch.float32, 1e-3), (torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_cuda_gives_the_same_points(golden: Path, dtype: torch.dtype, limit: float) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    network = load_network(golden / "tiny_dpt.pth", "cuda", dtype)
    arrays = np.load(golden / "tiny_dpt_io.npz")
    with torch.inference_mode():
        out = network(*(torch.from_numpy(arrays[f"square/img{view}"]).cuda() for view in (1, 2)))
    assert out.points_1.dtype == torch.float32
    expected = arrays["square/pts3d_1"]
    assert np.abs(out.points_1.cpu().numpy() - expected).max() <= limit * np.abs(expected).max()
