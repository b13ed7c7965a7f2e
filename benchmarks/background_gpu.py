# SPDX-License-Identifier: GPL-3.0-or-later
"""A live GPU context in Blender's background mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bpy


def with_gpu(work: Callable[[], Any]) -> Any:
    """The outcome of ``work``, run with a GPU context (needs EGL; before ``gpu.init`` came, inside a tiny render)."""
    import gpu  # noqa: PLC0415 - only where it is asked for

    if hasattr(gpu, "init"):
        gpu.init()
        return work()
    outcome: list[Any] = []

    class ProbeEngine(bpy.types.RenderEngine):
        bl_idname, bl_label, bl_use_gpu_context = "INTERNGS_PROBE", "probe", True

        def render(self, _depsgraph: Any) -> None:
            try:
                outcome.append(work())
            except Exception as error:  # noqa: BLE001 - raised below, outside the render
                outcome.append(error)
            self.end_result(self.begin_result(0, 0, 8, 8))

    bpy.utils.register_class(ProbeEngine)
    scene = bpy.data.scenes.new("probe")
    camera = bpy.data.objects.new("probe", bpy.data.cameras.new("probe"))
    scene.collection.objects.link(camera)
    scene.camera, scene.render.engine = camera, "INTERNGS_PROBE"
    scene.render.resolution_x = scene.render.resolution_y = 8
    bpy.ops.render.render(scene=scene.name)
    bpy.utils.unregister_class(ProbeEngine)
    bpy.data.objects.remove(camera)
    bpy.data.scenes.remove(scene)
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]
