# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests share: measured data, thread limits, and the rule that CI skips nothing in silence.

Imports pytest and the standard library alone, since the tests inside Blender's Python load this file too.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Generator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# Before numpy and torch start: tests run beside each other and results must not hang on the core count.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "2")

if importlib.util.find_spec("hypothesis") is not None:
    import hypothesis

    hypothesis.settings.register_profile("interngs", deadline=None, derandomize=True)
    hypothesis.settings.load_profile("interngs")

# With CI=true a skipped test fails the run, unless its reason says one of these:
ALLOWED_SKIPS = (
    r"needs an NVIDIA GPU",              # CI machines have none; these tests are marked gpu
    r"needs a real Blender window",      # marked gui
    r"slow",                             # marked slow: run by hand and on release
    r"shared data",                      # measured photographs that may not be shipped with the repository
    r"independent reader",               # another project's reader of our files that is not installed
    r"only on (Linux|POSIX|Windows|macOS)",
)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of data for measuring that is not part of the repository: ``../shared`` or ``$INTERNGS_SHARED``."""
    folder = Path(os.environ.get("INTERNGS_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"shared data absent: no folder {folder}; set INTERNGS_SHARED to the folder that has it")
    return folder


def is_allowed_skip(reason: str) -> bool:
    """Whether CI accepts a test being skipped for ``reason``."""
    return any(re.search(pattern, reason) for pattern in ALLOWED_SKIPS)


def _fail_if_skipped_in_ci(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip that CI does not allow into a failure, in place."""
    if os.environ.get("CI") != "true" or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not is_allowed_skip(reason):
        report.outcome = "failed"
        report.longrepr = (f"Skipped although CI=true: {reason}\nMake it run in CI, or add the reason to ALLOWED_SKIPS "
                           f"in tests/conftest.py.")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_if_skipped_in_ci(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped_in_ci(report)
    return report
