# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding, starting, reading and stopping a backend process on this computer."""

import sys
import threading
import time

import numpy as np
import pytest


@pytest.fixture(scope="module")
def local(addon_module):
    return addon_module("blender_addon.session.local_backend")


@pytest.fixture(scope="module")
def input_error(addon_module):
    return addon_module("interngs.errors").InputError


def make_checkout(folder, local):
    (folder / "backend").mkdir(parents=True)
    (folder / "backend" / "__main__.py").touch()
    python = folder / ".venv" / local.PYTHON_IN_VENV[0]
    python.parent.mkdir(parents=True)
    python.touch()
    return python


def test_a_checkout_its_venv_and_its_python_are_all_understood(local, tmp_path):
    python = make_checkout(tmp_path / "repo", local)
    for told in (tmp_path / "repo", tmp_path / "repo" / ".venv", python):
        found = local.find_backend(str(told), {})
        assert found.arguments == (str(python), "-m", "backend") and found.folder == tmp_path / "repo"
    assert local.find_backend("", {"INTERNGS_HOME": str(tmp_path / "repo")}).folder == tmp_path / "repo"


def test_an_installed_backend_is_found(local, tmp_path):
    script = tmp_path / "venv" / local.BACKEND_SCRIPT
    script.parent.mkdir(parents=True)
    script.touch(mode=0o755)
    assert local.find_backend(str(tmp_path / "venv"), {}).arguments == (str(script),)
    assert local.find_backend("", {"PATH": str(script.parent)}).arguments == (str(script),)


def test_no_backend_says_what_to_do(local, input_error, tmp_path):
    for told, environment in (("", {"PATH": str(tmp_path)}), (str(tmp_path), {})):
        with pytest.raises(input_error) as refused:
            local.find_backend(told, environment)
        assert refused.value.code == "backend-not-found"
        assert ("README" in refused.value.remedy) == (not told)


def wait_for(condition, seconds=10.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform == "win32", reason="only on POSIX: the probe answers SIGTERM")
def test_start_log_stop(local, input_error, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/nonsense")
    probe = tmp_path / "probe.py"
    probe.write_text("import sys, time, signal\n"
                     "signal.signal(signal.SIGTERM, lambda *a: (print('bye', flush=True), sys.exit(0)))\n"
                     "print('listening', sys.argv[1:], flush=True)\ntime.sleep(60)\n")
    backend = local.LocalBackend()
    command = local.BackendCommand((sys.executable, str(probe)))
    began = time.monotonic()
    backend.start(command, "tcp://127.0.0.1:5", ("--store", "x"), ends_with_blender=False)
    assert time.monotonic() - began < 1.0
    wait_for(lambda: any("listening" in line for line in backend.log))
    assert "'--listen', 'tcp://127.0.0.1:5', '--store', 'x'" in backend.log[-1]
    assert backend.is_running and backend.exit_code is None
    with pytest.raises(input_error):
        backend.start(command, "tcp://127.0.0.1:5")
    backend.stop()
    wait_for(lambda: not backend.is_running)
    wait_for(lambda: backend.log[-1] == "bye")
    assert backend.exit_code == 0


def test_it_ends_with_blender_by_its_standard_input(local, tmp_path):
    probe = tmp_path / "probe.py"
    probe.write_text("import sys\nprint(sys.argv[-1], flush=True)\nsys.stdin.read()\nprint('bye', flush=True)\n")
    backend = local.LocalBackend()
    backend.start(local.BackendCommand((sys.executable, str(probe))), "tcp://127.0.0.1:5")
    wait_for(lambda: backend.log[-1] == "--stop-with-stdin")
    backend.stop()
    wait_for(lambda: not backend.is_running)
    assert backend.exit_code == 0


def test_a_program_that_is_none(local, input_error, tmp_path):
    with pytest.raises(input_error) as refused:
        local.LocalBackend().start(local.BackendCommand((str(tmp_path / "none"),)), "tcp://127.0.0.1:5")
    assert refused.value.code == "backend-not-started"


def gaussians_of(addon_module, count):
    quats = np.tile(np.float32([1, 0, 0, 0]), (count, 1))
    return addon_module("interngs.scene.gaussians").Gaussians(
        np.zeros((count, 3), np.float32), quats, np.zeros((count, 3), np.float32), np.zeros(count, np.float32),
        np.zeros((count, 1, 3), np.float32))


def test_preparing_keeps_the_newest_and_never_loses_the_result(addon_module):
    preparer = addon_module("blender_addon.session.preparer").SplatPreparer(viewing=True)
    for count in range(1, 20):
        preparer.put("job", "PREVIEW", count, gaussians_of(addon_module, count))
    preparer.put("job", "FINAL", 99, gaussians_of(addon_module, 50), {"a": 1})
    preparer.put("job", "PREVIEW", 20, gaussians_of(addon_module, 3))
    taken = []
    wait_for(lambda: (ready := preparer.take()) is not None and (taken.append(ready) or True))
    (ready,) = taken
    assert (ready.kind, ready.splats.count, ready.report) == ("FINAL", 50, {"a": 1})
    assert preparer.take() is None and preparer.is_idle
    preparer.close()
    assert not [each for each in threading.enumerate() if each.name == "interngs-prepare"]


def test_one_job_that_cannot_be_shown_does_not_hold_up_another(addon_module):
    preparer = addon_module("blender_addon.session.preparer").SplatPreparer(viewing=True)
    preparer.put("bad", "PREVIEW", 1, None)
    preparer.put("good", "PREVIEW", 1, gaussians_of(addon_module, 5))
    outcomes = []

    def collect():
        try:
            outcomes.append(preparer.take())
        except AttributeError:
            outcomes.append("error")
        return preparer.is_idle

    wait_for(collect)
    assert [each if each == "error" else each.job_id for each in outcomes if each] in (["error", "good"],
                                                                                      ["good", "error"])
    preparer.close()
