# SPDX-License-Identifier: GPL-3.0-or-later
"""Run in a Blender of its own by test_package.py: install, use, disable, reload, uninstall a zip; prints JSON."""

import importlib.abc
import json
import os
import pkgutil
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import bpy

ZIP = sys.argv[-1]
MODULE = "bl_ext.user_default.intern_gs"
USER = Path(os.environ["BLENDER_USER_RESOURCES"])
HANDLERS = [name for name in dir(bpy.app.handlers) if isinstance(getattr(bpy.app.handlers, name), list)]


def traces():
    """Everything of ours that Blender knows: classes, properties, handlers, operators."""
    found = [name for name in dir(bpy.types) if "interngs" in name.lower() or "intern_gs" in name.lower()]
    for owner in ("Scene", "Object", "WindowManager", "Camera"):
        found += [f"{owner}.{prop.identifier}" for prop in getattr(bpy.types, owner).bl_rna.properties
                  if prop.identifier.startswith("interngs")]
    for name in HANDLERS:
        found += [name for each in getattr(bpy.app.handlers, name) if "intern_gs" in getattr(each, "__module__", "")]
    return sorted(found)


def enabled():
    return MODULE in bpy.context.preferences.addons


class OwnWheelsOnly(importlib.abc.MetaPathFinder):
    """Hides the test environment's own copies of the bundled packages."""

    def find_spec(self, name, path=None, target=None):
        if name not in ("zmq", "msgpack"):
            return None
        found = PathFinder.find_spec(name, [each for each in sys.path if str(USER) in each])
        if found is None:
            raise ModuleNotFoundError(name)
        return found


sys.meta_path.insert(0, OwnWheelsOnly())
report = {"before": traces()}
bpy.ops.extensions.package_install_files(repo="user_default", filepath=ZIP, enable_on_install=True)
report["enabled"] = enabled()
report["registered"] = traces()
import msgpack  # noqa: E402
import zmq  # noqa: E402

report["wheels"] = [zmq.__version__, ".".join(map(str, msgpack.version))]
report["wheels_are_ours"] = [str(USER) in each.__file__ for each in (zmq, msgpack)]
package = sys.modules[MODULE]
imported = []
for found in pkgutil.walk_packages(package.__path__, MODULE + "."):
    __import__(found.name)
    imported.append(found.name.removeprefix(MODULE + "."))
report["imported"] = imported

bpy.ops.preferences.addon_disable(module=MODULE)
report["after_disable"] = traces()
for _ in range(3):
    bpy.ops.preferences.addon_enable(module=MODULE)
    assert enabled() and traces() == report["registered"], "enable"
    bpy.ops.preferences.addon_disable(module=MODULE)
bpy.ops.preferences.addon_enable(module=MODULE)
bpy.ops.script.reload()
report["after_reload"] = traces() == report["registered"] and enabled()
bpy.ops.wm.read_homefile(use_empty=True)
report["after_new_file"] = traces() == report["registered"]
repos = bpy.context.preferences.extensions.repos
bpy.ops.extensions.package_uninstall(repo_index=next(i for i, r in enumerate(repos) if r.module == "user_default"),
                                     pkg_id="intern_gs")
report["enabled_after_uninstall"] = enabled()
report["after_uninstall"] = traces()
report["files_left"] = [str(path.relative_to(USER)) for path in USER.rglob("*")
                        if path.is_file() and ".cache" not in path.parts and ".blender_ext" not in path.parts]
sys.__stdout__.write("PROBE " + json.dumps(report) + "\n")
sys.__stdout__.flush()
os._exit(0)
