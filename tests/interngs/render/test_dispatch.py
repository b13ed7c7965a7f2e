# SPDX-License-Identifier: GPL-3.0-or-later
"""Which renderer runs, and what is said when it cannot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from interngs.errors import InternGSError
from interngs.render import gsplat_backend
from interngs.render.rasterize import rasterize

ROOT = Path(__file__).resolve().parents[3]


def arguments(device):
    return [torch.zeros(1, 3, device=device), torch.ones(1, 4, device=device), torch.ones(1, 3, device=device),
            torch.ones(1, device=device), torch.zeros(1, 3, device=device), torch.zeros(1, 4, 4, device=device),
            torch.zeros(1, 3, 3, device=device)]


def test_rendering_on_the_cpu_never_imports_gsplat():
    code = ("import sys, torch; from interngs.render.rasterize import rasterize\n"
            "rasterize(torch.zeros(1, 3), torch.ones(1, 4), torch.ones(1, 3), torch.ones(1), torch.zeros(1, 3),"
            " torch.eye(4)[None], torch.eye(3)[None], 4, 4)\n"
            "sys.exit('gsplat' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=280).returncode == 0


def test_cuda_without_gsplat_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gsplat", None)  # makes the import fail
    with pytest.raises(InternGSError) as caught:
        gsplat_backend.render(*arguments("cpu"), 4, 4)
    assert caught.value.code == "gsplat-missing"
    assert "interngs[cuda]" in caught.value.remedy


def test_other_devices_are_refused():
    with pytest.raises(InternGSError, match="meta"):
        rasterize(*arguments("meta"), 4, 4)
