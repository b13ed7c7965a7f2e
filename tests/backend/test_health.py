# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server tells of itself: its devices and who chose them, and every model on its machine."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from backend.config import ServerConfig
from backend.health import Devices, parse_gpus, priors


def test_gpus_are_read_from_nvidia_smi():
    found = parse_gpus("0, NVIDIA A, 24564, 20000\n1, NVIDIA B, 8192, 100\nnonsense\n")
    assert [(index, gpu.name, gpu.free_bytes) for index, gpu in found.items()] == [
        (0, "NVIDIA A", 20000 << 20), (1, "NVIDIA B", 100 << 20)]


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_job_on_the_cpu_knows_whether_anybody_asked_for_it(device, monkeypatch):
    monkeypatch.setattr("backend.health.query_gpus", dict)
    slots = Devices(replace(ServerConfig(), device=device, cpu_slots=2, threads=3)).slots()
    assert [(slot.gpu, slot.threads, slot.device) for slot in slots] == [(None, 3, device)] * 2


def test_cuda_that_is_not_there_leaves_no_place_for_jobs(monkeypatch):
    monkeypatch.setattr("backend.health.query_gpus", dict)
    assert Devices(replace(ServerConfig(), device="cuda")).slots() == []


def test_models_that_the_user_added_are_listed(tmp_path, monkeypatch):
    monkeypatch.setenv("INTERNGS_WEIGHTS", str(tmp_path))
    before = {prior.name for prior in priors()}
    folder = tmp_path / "studio-depth"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"x")
    files = {path.name: {"bytes": path.stat().st_size, "sha256": "0" * 64} for path in folder.iterdir()}
    (folder / "interngs-weights.json").write_text(json.dumps({
        "model": "studio-depth", "purpose": "depth", "licence": "of the studio", "licence_url": "",
        "commercial_use": True, "source": "", "files": files}))
    after = {prior.name: prior for prior in priors()}
    assert set(after) - before == {"studio-depth"}
    assert after["studio-depth"].present and after["studio-depth"].licence == "of the studio"
