# SPDX-License-Identifier: GPL-3.0-or-later
"""With CI=true a test that should have run cannot be skipped in silence."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

SKIPPING_TESTS = '''
import pytest

def test_skips_in_the_body(): pytest.skip("did not feel like it")

@pytest.mark.skip(reason="by mark")
def test_skips_by_mark(): pass

@pytest.mark.skipif(True, reason="only on Windows: another system")
def test_of_another_system(): pass

@pytest.mark.xfail(reason="known")
def test_known_failure(): raise ValueError

def test_needs_data(shared_data): pass

def test_runs(): pass
'''


def run_pytest(folder: Path, ci: str) -> str:
    shutil.copy(Path(__file__).with_name("conftest.py"), folder / "conftest.py")
    environment = os.environ | {"CI": ci, "INTERNGS_SHARED": str(folder / "nowhere")}
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
                          env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    return done.stdout


def test_ci_fails_on_skips_that_are_not_allowed(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(SKIPPING_TESTS)
    in_ci = run_pytest(tmp_path, "true")
    assert "1 failed, 1 passed, 2 skipped, 1 xfailed, 1 error" in in_ci, in_ci
    assert "Skipped although CI=true" in in_ci and "did not feel like it" in in_ci and "by mark" in in_ci
    by_hand = run_pytest(tmp_path, "")
    assert "1 passed, 4 skipped, 1 xfailed" in by_hand, by_hand


def test_ci_fails_on_a_skipped_file(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text('import pytest\npytest.importorskip("no_such_package")\n')
    assert "could not import 'no_such_package'" in run_pytest(tmp_path, "true")
    assert "1 skipped" in run_pytest(tmp_path, "")
