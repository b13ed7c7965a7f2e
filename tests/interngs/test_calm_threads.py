# SPDX-License-Identifier: GPL-3.0-or-later
"""Thread settings of numeric libraries: added where they are missing, never overruled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from interngs.calm_threads import calm_threads

ROOT = Path(__file__).resolve().parents[2]


def test_what_is_missing_is_added_and_what_is_there_stays():
    environment = {"OPENBLAS_NUM_THREADS": "7"}
    calm_threads(environment)
    assert environment == {"OPENBLAS_NUM_THREADS": "7", "OMP_WAIT_POLICY": "passive"}


def test_the_command_line_calms_threads_before_numpy_is_loaded():
    code = ("import sys, os, interngs.cli\n"
            "assert 'numpy' not in sys.modules and 'torch' not in sys.modules\n"
            "interngs.cli.main(['--help'])\n"
            "sys.exit(os.environ['OPENBLAS_NUM_THREADS'] != '1')")
    environment = {"PATH": "", "SYSTEMROOT": ""} if sys.platform != "win32" else None
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=120, env=environment,
                          capture_output=True).returncode == 0
