# SPDX-License-Identifier: GPL-3.0-or-later
"""Tiny random models saved in the layouts of their libraries: depth estimation, diffusion, ControlNet."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """For these problems threads cost more than they save."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def depth_anything(folder: Path, metric: bool = False) -> Path:
    """A Depth Anything network of a few thousand weights (Dinov2 backbone), with its image processor."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    torch.manual_seed(0)
    backbone = Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, mlp_ratio=2, image_size=28, patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False, apply_layernorm=True)
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=16, patch_size=14, neck_hidden_sizes=[4, 8, 8, 8],
        fusion_hidden_size=8, head_hidden_size=4, head_in_index=-1, reassemble_factors=[4, 2, 1, 0.5],
        depth_estimation_type="metric" if metric else "relative", max_depth=20 if metric else 1)
    network = DepthAnythingForDepthEstimation(config)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
        # An untrained head mostly stays under zero, where its last rectifier cuts it off.
        network.head.conv3.bias.fill_(5.0)
    network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({
        "do_normalize": True, "do_rescale": True, "do_resize": True, "ensure_multiple_of": 14,
        "image_mean": [0.485, 0.456, 0.406], "image_processor_type": "DPTImageProcessor",
        "image_std": [0.229, 0.224, 0.225], "keep_aspect_ratio": True, "resample": 3, "rescale_factor": 1 / 255,
        "size": {"height": 28, "width": 28}}))
    return folder


def diffusion(folder: Path) -> Path:
    """A Stable Diffusion pipeline of a few thousand weights: tokenizer, text encoder, UNet, autoencoder, scheduler."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    tokens = folder.parent / "tokens"
    tokens.mkdir(exist_ok=True)
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    (tokens / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(words)}))
    (tokens / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(tokens / "vocab.json"), str(tokens / "merges.txt"), model_max_length=24)
    text = CLIPTextModel(CLIPTextConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=24, bos_token_id=52, eos_token_id=53, pad_token_id=53))
    unet = UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, block_out_channels=(8, 8), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16, attention_head_dim=2, norm_num_groups=4)
    autoencoder = AutoencoderKL(
        block_out_channels=(8, 8), in_channels=3, out_channels=3, latent_channels=4, norm_num_groups=4, sample_size=32,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2)
    StableDiffusionPipeline(
        vae=autoencoder, text_encoder=text, tokenizer=tokenizer, unet=unet,
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False).save_pretrained(folder)
    return folder


def control_net(folder: Path, safe: bool = True) -> Path:
    """A ControlNet that fits ``diffusion``."""
    from diffusers import ControlNetModel

    torch.manual_seed(1)
    ControlNetModel(
        in_channels=4, block_out_channels=(8, 8), layers_per_block=1, cross_attention_dim=16, attention_head_dim=2,
        norm_num_groups=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        conditioning_embedding_out_channels=(4, 8)).save_pretrained(folder, safe_serialization=safe)
    return folder


@pytest.fixture(scope="session")
def make_model() -> dict[str, Callable[..., Path]]:
    """Functions that write a tiny model into a folder."""
    return {"depth": depth_anything, "diffusion": diffusion, "control": control_net}


@pytest.fixture(scope="session")
def depth_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return depth_anything(tmp_path_factory.mktemp("depth") / "model")


@pytest.fixture(scope="session")
def diffusion_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return diffusion(tmp_path_factory.mktemp("diffusion") / "model")


@pytest.fixture(scope="session")
def control_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return control_net(tmp_path_factory.mktemp("control") / "model")
