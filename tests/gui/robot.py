# SPDX-License-Identifier: GPL-3.0-or-later
"""Inside Blender's window: screenshots from X, buttons found by their colour, real mouse clicks."""

import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

import bpy
import numpy as np

ARGUMENTS = sys.argv[sys.argv.index("--") + 1:]
OUTPUT = Path(ARGUMENTS[0])
MODULE = "bl_ext.user_default.intern_gs"
LEAST_HEIGHT_PX = 14
PARKED = ("700", "1692")
"""Where the mouse waits, on the status bar: a button under it would have another colour."""
RESULT = {"blender": bpy.app.version_string, "clicks": []}


def addon(dotted):
    """A module of the installed extension."""
    import importlib

    return importlib.import_module(f"{MODULE}.{dotted}")


def view3d():
    """Window, 3D area, its main region, its sidebar."""
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    regions = {region.type: region for region in area.regions}
    return window, area, regions["WINDOW"], regions["UI"]


def install(zip_path):
    """Install the extension's zip, open the sidebar on its tab."""
    bpy.ops.extensions.package_install_files(repo="user_default", filepath=zip_path, enable_on_install=True)
    assert MODULE in bpy.context.preferences.addons, "the extension was not enabled"
    _, area, _, _ = view3d()
    area.spaces.active.show_region_ui = True


def show_tab():
    """Select the tab; the sidebar must have been drawn once."""
    _, area, _, sidebar = view3d()
    sidebar.active_panel_category = "Intern-GS"
    area.tag_redraw()


def screenshot(name):
    """The whole screen as a PNG, from X itself."""
    path = OUTPUT / f"{name}.png"
    subprocess.run(["import", "-silent", "-window", "root", str(path)], check=True)
    return path


def screen_pixels():
    """The screen as [H, W, 3] uint8."""
    path = OUTPUT / "look.ppm"
    subprocess.run(["import", "-silent", "-window", "root", "-depth", "8", str(path)], check=True)
    data = path.read_bytes()
    path.unlink()
    window = view3d()[0]
    return np.frombuffer(data[-window.width * window.height * 3:], np.uint8).reshape(window.height, window.width, 3)


def buttons():
    """(x, y, height) in screen pixels of the enabled operator buttons at the sidebar's left edge, top to bottom."""
    window, _, _, sidebar = view3d()
    colour = np.round(np.array(bpy.context.preferences.themes[0].user_interface.wcol_tool.inner[:3]) * 255)
    top = window.height - sidebar.y - sidebar.height
    pixels = screen_pixels()[top:top + sidebar.height].astype(int)
    # Between a button's rounded edge and its icon there are a few columns of its plain colour.
    found = [_runs(np.abs(pixels[:, sidebar.x + offset] - colour).max(axis=1) <= 2) for offset in range(8, 28)]
    best = max(found, key=lambda runs: (len(runs), sum(end - start for start, end in runs)))
    return [(sidebar.x + 60, top + (start + end) // 2, end - start) for start, end in best]


def _runs(inside):
    """(start, end) of runs of True that are as tall as a button."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(int)))
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)
            if end - start >= LEAST_HEIGHT_PX]


def click(x, y):
    """Move the mouse there and click."""
    RESULT["clicks"].append([int(x), int(y)])
    subprocess.Popen(["xdotool", "mousemove", str(int(x)), str(int(y) - 3), "sleep", "0.3", "mousemove", str(int(x)),
                      str(int(y)), "sleep", "0.5", "click", "1", "sleep", "1.0", "mousemove", *PARKED])


def scroll(steps):
    """Scroll the sidebar down."""
    window, _, _, sidebar = view3d()
    x, y = sidebar.x + sidebar.width // 2, window.height - sidebar.y - sidebar.height // 2
    subprocess.Popen(["xdotool", "mousemove", str(x), str(y), "sleep", "0.2",
                      "click", "--repeat", str(steps), "--delay", "60", "5", "mousemove", *PARKED])


def finish(failure=None):
    """Write what was found, end Blender."""
    if failure is not None:
        RESULT["failure"] = failure
        screenshot("failure")
    (OUTPUT / "result.json").write_text(json.dumps(RESULT, indent=1, default=str))
    sys.stdout.flush()
    os._exit(1 if failure else 0)


def play(steps, limit_s=400.0):
    """Run generator functions one after the other; each yields seconds to wait."""
    began = time.perf_counter()
    script = (pause for step in steps for pause in step())

    def tick():
        if time.perf_counter() - began > limit_s:
            finish(f"took longer than {limit_s} s; last step {RESULT.get('step')}")
        try:
            return next(script)
        except StopIteration:
            finish()
        except Exception:  # noqa: BLE001 - written into the result
            finish(traceback.format_exc())
        return None

    bpy.context.preferences.view.show_splash = False
    bpy.app.timers.register(tick, first_interval=2.0, persistent=True)


def wait_until(condition, what, limit_s=120.0):
    """Yield until ``condition()``; fails with ``what`` after ``limit_s``."""
    RESULT["step"] = what
    until = time.perf_counter() + limit_s
    while not condition():
        assert time.perf_counter() < until, f"waited in vain: {what}"
        yield 0.3


def click_until(find, condition, what, limit_s=60.0):
    """Click what ``find()`` gives until ``condition()``; a click is lost now and then on a busy machine."""
    RESULT["step"] = what
    until = time.perf_counter() + limit_s
    while not condition():
        assert time.perf_counter() < until, f"clicked in vain: {what}"
        target = find()
        if target is None:
            scroll(4)
            yield 1.5
            continue
        click(*target)
        yield 3.0
        for _ in range(6):
            if condition():
                return
            yield 0.5
