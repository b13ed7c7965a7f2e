# SPDX-License-Identifier: GPL-3.0-or-later
"""The script for machines with a GPU runs to its end without one, in its rehearsal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *arguments], cwd=ROOT, text=True,
                          capture_output=True, check=False, timeout=280, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_a_rehearsal_goes_all_the_way_and_says_what_it_is():
    done = run("--rehearse", "--steps", "4", "--own-steps", "4", "--max-side-px", "48")
    assert done.returncode == 0, done.stderr
    assert "REHEARSAL" in done.stdout and "our CPU kernels" in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert [len(row.split("|")) for row in rows] == [12] * 4
    assert all(row.split("|")[2].strip() == "4" for row in rows[2:])


def test_without_a_gpu_the_real_thing_says_so():
    if torch.cuda.is_available():
        return
    done = run()
    assert done.returncode == 2
    assert "no NVIDIA GPU" in done.stderr
