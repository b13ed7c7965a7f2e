# SPDX-License-Identifier: GPL-3.0-or-later
"""Official numbers to compare with, and a small made-up scene whose cameras, depth and pointmaps are known exactly."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from interngs.geometry.dust3r.configuration import NetworkConfig
from interngs.geometry.dust3r.network import Dust3rNetwork
from interngs.geometry.dust3r.pointmaps import PairPoints
from interngs.geometry.dust3r.preprocess import normalised
from interngs.geometry.similarity import inverse_rigid
from interngs.scene.cameras import Camera
from interngs.scene.capture import Capture, View

CONSTRUCTOR = (
    "AsymmetricCroCo3DStereo(pos_embed='RoPE100', patch_embed_cls='ManyAR_PatchEmbed', img_size=({size}, {size}), "
    "head_type='linear', output_mode='pts3d', depth_mode=('exp', -inf, inf), conf_mode=('exp', 1, inf), "
    "enc_embed_dim={encoder}, enc_depth={depth}, enc_num_heads=2, dec_embed_dim={decoder}, dec_depth={depth}, "
    "dec_num_heads=2)")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These problems are so small that threads cost more than they save, and on a busy machine cost everything."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def golden(shared_data: Path) -> Path:
    """Folder of the official network's inputs and outputs on made-up weights."""
    folder = shared_data / "golden"
    if not folder.is_dir():
        pytest.skip(f"shared data absent: no folder {folder}")
    return folder


def load_pairs(arrays: dict[str, NDArray], prefix: str = "") -> list[PairPoints]:
    """Pairs of one golden scene."""
    def values(name: str) -> NDArray[np.float32]:
        return arrays[prefix + name].astype(np.float32)

    return [PairPoints(int(i), int(j), values(f"pair{e}_pts3d_1"), values(f"pair{e}_conf_1"),
                       values(f"pair{e}_pts3d_in_other_view_2"), values(f"pair{e}_conf_2"))
            for e, (i, j) in enumerate(arrays[prefix + "edges"])]


@pytest.fixture(scope="session")
def read_pairs():
    """``load_pairs`` for tests, which cannot import from here."""
    return load_pairs


@dataclass(frozen=True, eq=False)
class ReliefScene:
    """A wavy wall seen by a few cameras: images [H, W, 3] uint8, exact depth [H, W], exact cameras."""

    cameras: list[Camera]
    depths: list[NDArray[np.float64]]
    images: list[NDArray[np.uint8]]

    def pair(self, first: int, second: int, scale: float = 1.0, noise: float = 0.0, seed: int = 0) -> PairPoints:
        """Pointmaps of a pair, divided by ``scale``; ``noise`` is relative, and a twentieth are outliers with low
        confidence."""
        random = np.random.default_rng(seed + 97 * first + 31 * second)
        parts = []
        for view in (first, second):
            points = self.cameras[view].unproject(self.depths[view])
            pose = self.cameras[first].camera_from_world
            points = points @ pose[:3, :3].T + pose[:3, 3]
            confidence = np.full(points.shape[:2], 12.0)
            if noise:
                points = points * (1 + noise * random.normal(size=(*points.shape[:2], 1)))
                outlier = random.random(points.shape[:2]) < 0.05
                points[outlier] *= random.uniform(0.5, 2.0, size=(int(outlier.sum()), 1))
                confidence[outlier] = 1.2
            parts += [(points / scale).astype(np.float32), confidence.astype(np.float32)]
        return PairPoints(first, second, *parts)

    def pairs(self, noise: float = 0.0, seed: int = 0) -> list[PairPoints]:
        """All ordered pairs, each at its own scale."""
        random = np.random.default_rng(seed)
        count = len(self.cameras)
        return [self.pair(i, j, random.uniform(0.5, 2.0), noise, seed)
                for i in range(count) for j in range(count) if i != j]

    def capture(self, posed: bool = True) -> Capture:
        """The views as a capture."""
        return Capture(tuple(
            View(f"view {index}", (image / 255.0).astype(np.float32), camera if posed else None)
            for index, (camera, image) in enumerate(zip(self.cameras, self.images, strict=True))))


def _relief(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.35 * np.sin(1.3 * x + 0.4) * np.cos(1.1 * y) + 0.15 * np.sin(2.3 * y - x)


def _wall_depth(camera: Camera) -> NDArray[np.float64]:
    """z-depth of the wall z = relief(x, y), by Newton's method along each ray."""
    rays = camera.pixel_rays() @ camera.world_from_camera[:3, :3].T
    depth = -camera.centre[2] / rays[..., 2]
    for _ in range(60):
        points = camera.centre + rays * depth[..., None]
        height = points[..., 2] - _relief(points[..., 0], points[..., 1])
        ahead = points + 1e-4 * rays
        slope = (ahead[..., 2] - _relief(ahead[..., 0], ahead[..., 1]) - height) / 1e-4
        depth = depth - height / slope
    return depth


def _texture(points: NDArray[np.float64]) -> NDArray[np.uint8]:
    random = np.random.default_rng(5)
    colour = np.zeros((*points.shape[:2], 3))
    for frequency in (0.6, 1.3, 2.9, 6.1):
        for _ in range(3):
            wave = random.normal(size=3) * frequency
            strength = random.normal(size=3) / frequency**0.4
            colour += np.sin(points @ wave + random.uniform(0, 6.28))[..., None] * strength
    return np.clip(128 + 40 * colour, 0, 255).astype(np.uint8)


def make_relief_scene(sizes: list[tuple[int, int]], focals: list[float]) -> ReliefScene:
    """Views of ``sizes`` (height, width), turned towards the wall from an arc in front of it."""
    cameras, depths, images = [], [], []
    for index, ((height, width), focal) in enumerate(zip(sizes, focals, strict=True)):
        along = index - (len(sizes) - 1) / 2
        centre = np.array([1.1 * along, 0.3 * np.cos(2.0 * index), -4.0 + 0.2 * index])
        forward = np.array([0.25 * along, 0.1, 0.0]) - centre
        forward /= np.linalg.norm(forward)
        right = np.cross([0.0, 1.0, 0.0], forward)
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
        pose[:3, 3] = centre
        K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
        camera = Camera(K, inverse_rigid(pose), width, height)
        cameras.append(camera)
        depths.append(_wall_depth(camera))
        images.append(_texture(camera.unproject(depths[-1])))
    return ReliefScene(cameras, depths, images)


@pytest.fixture(scope="session")
def relief_scene():
    """``make_relief_scene`` for tests."""
    return make_relief_scene


@dataclass(frozen=True, eq=False)
class TinyCheckpoint:
    """A tiny network that knows one scene, saved in both official layouts."""

    pth: Path
    folder: Path
    scene: ReliefScene


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    """A tiny random network whose last layer knows the pointmaps of one scene, so that what follows has real work."""
    scene = make_relief_scene([(48, 64)] * 3, [60.0] * 3)
    torch.manual_seed(0)
    size, encoder, decoder, depth = 64, 64, 96, 2
    network = Dust3rNetwork(NetworkConfig(
        (size, size), "linear", encoder, depth, 2, decoder, depth, 2))
    _teach(network, scene)
    folder = tmp_path_factory.mktemp("tiny")
    constructor = CONSTRUCTOR.format(size=size, encoder=encoder, decoder=decoder, depth=depth)
    state = {name: tensor.detach().clone().contiguous() for name, tensor in network.state_dict().items()}
    torch.save({"model": state, "args": argparse.Namespace(model=constructor)}, folder / "tiny.pth")
    (folder / "hub").mkdir()
    (folder / "hub" / "config.json").write_text(json.dumps({
        "img_size": [size, size], "head_type": "linear", "enc_embed_dim": encoder, "enc_depth": depth,
        "enc_num_heads": 2, "dec_embed_dim": decoder, "dec_depth": depth, "dec_num_heads": 2, "pos_embed": "RoPE100",
        "patch_embed_cls": "PatchEmbedDust3R", "output_mode": "pts3d", "landscape_only": False,
        "depth_mode": ["exp", -float("inf"), float("inf")], "conf_mode": ["exp", 1, float("inf")]}))
    save_file(state, folder / "hub" / "model.safetensors")
    return TinyCheckpoint(folder / "tiny.pth", folder / "hub", scene)


def _teach(network: Dust3rNetwork, scene: ReliefScene) -> None:
    """Solve both heads so that the pairs' pointmaps come out: one linear equation per patch, fewer than unknowns."""
    pairs = [scene.pair(i, j) for i in range(3) for j in range(3) if i != j]
    images = torch.stack([torch.from_numpy(normalised(image)) for image in scene.images])
    with torch.no_grad():
        tokens = network.decode_tokens(network.encode(images[[pair.first for pair in pairs]]),
                                       network.encode(images[[pair.second for pair in pairs]]))
        for head, view_tokens, points in (
                (network.downstream_head1, tokens[0], [pair.points_1 for pair in pairs]),
                (network.downstream_head2, tokens[1], [pair.points_2 for pair in pairs])):
            xyz = torch.from_numpy(np.stack(points)).double().permute(0, 3, 1, 2)
            distance = xyz.norm(dim=1, keepdim=True)
            raw = torch.cat([xyz / distance * distance.log1p(), torch.full_like(distance, np.log(11.0))], dim=1)
            wanted = torch.nn.functional.pixel_unshuffle(raw, 16).flatten(2).transpose(1, 2).flatten(0, 1)
            known = view_tokens[-1].double().flatten(0, 1)
            known = torch.cat([known, torch.ones(len(known), 1, dtype=known.dtype)], dim=1)
            solution = torch.linalg.lstsq(known, wanted, driver="gelsd").solution.float()
            head.proj.weight.copy_(solution[:-1].T)
            head.proj.bias.copy_(solution[-1])
