# SPDX-License-Identifier: GPL-3.0-or-later
"""``interngs reconstruct --gpus``: processes of torchrun that train one scene, on the CPU; and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from interngs.commands.launch_ranks import check_ranks
from interngs.errors import InputError
from interngs.formats.ply import read_ply

ROOT = Path(__file__).resolve().parents[3]


def interngs(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "interngs.cli", *arguments], cwd=ROOT, capture_output=True, text=True,
                          check=False, timeout=280, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_two_processes_make_one_result_and_one_process_goes_on(tmp_path, wall_folder):
    common = ["reconstruct", str(wall_folder()), "-o", str(tmp_path / "out"), "--device", "cpu", "--pseudo-views", "2",
              "--depth-prior", "none", "--threads", "1"]
    run = interngs(*common, "--gpus", "2", "--steps", "8")
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr and run.stderr.count("result.ply") == 1
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["steps"] == 4 and report["views_per_step"] == 2 and report["complete"]
    assert "2 processes" in report["device"]
    assert len(read_ply(tmp_path / "out" / "result.ply").gaussians) == report["gaussians"] > 500

    run = interngs(*common, "--resume", "--steps", "10")
    assert run.returncode == 0 and "Resumed at step 8" in run.stderr, run.stderr


def test_the_first_one_s_refusal_is_told_once_with_its_exit_code(tmp_path, wall_folder):
    run = interngs("reconstruct", str(wall_folder()), "-o", str(tmp_path / "out"), "--device", "cpu", "--gpus", "2",
                   "--views", "9")
    assert run.returncode == 2
    assert run.stderr.count("there is no number 9") == 1 and "Traceback" not in run.stderr, run.stderr


def test_missing_gpus_are_told_with_a_remedy(monkeypatch):
    with pytest.raises(InputError, match="0 GPUs"):
        check_ranks(0, "auto")
    if not torch.cuda.is_available():
        with pytest.raises(InputError) as caught:
            check_ranks(2, "auto")
        assert caught.value.code == "cuda-not-available" and "--device cpu" in caught.value.remedy
    monkeypatch.setattr("interngs.commands.launch_ranks.choose_device", lambda device: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError) as caught:
        check_ranks(4, "cuda")
    assert caught.value.code == "too-few-gpus" and "--gpus 1" in caught.value.remedy


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="only on POSIX: signals")
def test_ctrl_c_stops_all_after_a_checkpoint(tmp_path, wall_folder):
    out = tmp_path / "out"
    arguments = [str(wall_folder()), "-o", str(out), "--device", "cpu", "--gpus", "2", "--steps", "100000",
                 "--pseudo-views", "2", "--depth-prior", "none", "--threads", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "interngs.cli", "reconstruct", *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)})
    deadline_s = time.monotonic() + 200
    while not (out / "work" / "prepared.npz").exists():
        assert process.poll() is None and time.monotonic() < deadline_s
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=100)
    assert process.returncode == 130, told
    assert "--gpus 2" in told and "Traceback" not in told, told
    assert not json.loads((out / "report.json").read_text())["complete"]
    assert list((out / "work" / "checkpoints").iterdir())
