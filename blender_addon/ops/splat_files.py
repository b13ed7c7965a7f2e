# SPDX-License-Identifier: GPL-3.0-or-later
"""File > Import and Export of splats, dropping files into a 3D view, and the collection exporter."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import bpy
from bpy.props import BoolProperty, CollectionProperty, EnumProperty, FloatProperty, IntProperty, StringProperty

from ...interngs.errors import InputError
from ...interngs.formats.registry import FORMATS, format_of
from ...interngs.scene.axes import AXES_IN_WORDS
from ..scene.splat_files import (
    READABLE_ENDINGS,
    WRITABLE,
    add_object,
    plan_files,
    read_object,
    reader,
    sh_degree_of,
    with_ending,
    writer,
)
from ..scene.splat_object import is_splat
from ..session.wording import number
from .threaded import ThreadedOperator

AXES_ITEMS = [("AUTO", "The Format's Own", "As the format says, or the file says of itself"),
              ("opencv", "Y Down", f"As 3DGS trainers write: {AXES_IN_WORDS['opencv']}"),
              ("opengl", "Y Up", f"As glTF and SPZ have it: {AXES_IN_WORDS['opengl']}"),
              ("blender", "Z Up", f"Blender's own: {AXES_IN_WORDS['blender']}")]
SCALE = {"name": "Scale", "default": 1.0, "min": 1e-6, "soft_min": 0.01, "soft_max": 100.0}
PATTERN = ";".join(f"*{ending}" for ending in READABLE_ENDINGS)


class INTERNGS_OT_import_splats(ThreadedOperator, bpy.types.Operator):
    """Import Gaussian splats: PLY, compressed PLY, .splat, SPZ, GLB, .usda or .ksplat"""

    bl_idname = "interngs.import_splats"
    bl_label = "Import Splats"
    bl_options: ClassVar = {"REGISTER", "UNDO", "PRESET"}
    doing = "Reading splats"

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE", "HIDDEN"})
    directory: StringProperty(subtype="DIR_PATH", options={"SKIP_SAVE", "HIDDEN"})
    files: CollectionProperty(type=bpy.types.OperatorFileListElement, options={"SKIP_SAVE", "HIDDEN"})
    filter_glob: StringProperty(default=PATTERN, options={"HIDDEN"})
    axes: EnumProperty(
        name="Axes of the File", items=AXES_ITEMS, default="AUTO",
        description="Where x, y and z point in the file; change it when a splat lies on its side or upside down")
    scale: FloatProperty(**SCALE, description="Positions and sizes are multiplied by it")

    def invoke(self, context, event):
        """Read what was dropped; else open the file browser."""
        if self.files or self.filepath:
            return super().invoke(context, event)
        self._interactive = True
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def prepare(self, _context):
        """Which files."""
        paths = [Path(bpy.path.abspath(self.directory)) / each.name for each in self.files if each.name]
        paths = paths or [Path(bpy.path.abspath(self.filepath))]
        return reader(paths, None if self.axes == "AUTO" else self.axes, self.scale)

    def finish(self, context, outcome):
        """One object a file; they are selected, the last is active."""
        if context.mode != "OBJECT":
            raise InputError("import-mode", "Objects can be added in object mode only.", "Leave edit mode first.")
        for each in context.selected_objects:
            each.select_set(False)
        for found in outcome:
            added = add_object(found, context.collection)
            added.select_set(True)
            context.view_layer.objects.active = added
            depends = f"view-dependent colour of degree {found.sh_degree}" if found.sh_degree else (
                "colour does not change with the view")
            self.report({"INFO"}, f"{added.name}: {number(found.splats.count)} Gaussians, {depends}")
            for warning in found.warnings:
                self.report({"WARNING"}, f"{added.name}: {warning}")
        return {"FINISHED"}


class INTERNGS_OT_export_splats(ThreadedOperator, bpy.types.Operator):
    """Export Gaussian splats as they stand in the scene, for other programs"""

    bl_idname = "interngs.export_splats"
    bl_label = "Export Splats"
    bl_options: ClassVar = {"REGISTER", "PRESET"}
    doing = "Writing splats"

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    check_existing: BoolProperty(default=True, options={"HIDDEN"})
    filter_glob: StringProperty(default=PATTERN, options={"HIDDEN"})
    collection: StringProperty(
        name="Collection", description="Export the splats of this collection", options={"HIDDEN"})
    file_format: EnumProperty(
        name="Format", items=[(each.name, each.label, each.loss or "Nothing is lost") for each in WRITABLE],
        default="ply", description="The kind of file")
    scope: EnumProperty(
        name="Objects", default="SELECTED", description="Which splats are exported",
        items=[("SELECTED", "Selected", "The selected splats"), ("VISIBLE", "Visible", "Every visible splat"),
               ("ALL", "All", "Every splat of the scene")])
    layout_of_files: EnumProperty(
        name="Files", default="MERGED", description="How many files are written",
        items=[("MERGED", "One File", "All splats in one file"),
               ("EACH", "One Each", "A file for each splat, named after the object, in the chosen folder"),
               ("COLLECTIONS", "Collection Folders",
                "A file for each splat, in a folder named after its collection")])
    animation: BoolProperty(
        name="Animation", default=False, description="A numbered file for each frame, with the objects as they move")
    frame_start: IntProperty(name="First Frame", default=1, description="First frame that is written")
    frame_end: IntProperty(name="Last Frame", default=250, description="Last frame that is written")
    frame_step: IntProperty(name="Step", default=1, min=1, description="Every frame, every second one, ...")
    max_sh_degree: IntProperty(
        name="Largest SH Degree", default=3, min=0, max=4,
        description="View-dependent colour beyond this degree is left out; 0 makes colour the same from everywhere")
    axes: EnumProperty(
        name="Axes in the File", items=AXES_ITEMS, default="AUTO",
        description="Where x, y and z shall point in the file")
    scale: FloatProperty(**SCALE, description="Positions and sizes are multiplied by it")

    def invoke(self, context, _event):
        """Propose a name and the scene's frames; open the file browser."""
        if not self.properties.is_property_set("frame_start"):
            self.frame_start = context.scene.frame_start
        if not self.properties.is_property_set("frame_end"):
            self.frame_end = context.scene.frame_end
        if not self.filepath:
            active = context.active_object
            name = bpy.path.clean_name(active.name) if is_splat(active) else "splat"
            self.filepath = str(Path(bpy.data.filepath).parent / name) if bpy.data.filepath else name
        self.filepath = with_ending(self.filepath, self._format())
        self._interactive = True
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def check(self, _context):
        """Keep the file's extension that of the chosen format."""
        wanted = with_ending(self.filepath, self._format())
        changed, self.filepath = wanted != self.filepath, wanted
        return changed

    def draw(self, context):
        """The settings, and what the format does not keep of these splats."""
        layout = self.layout
        layout.use_property_split, layout.use_property_decorate = True, False
        layout.prop(self, "file_format")
        degree = max((sh_degree_of(each) for each in self._objects(context)), default=0)
        for line in losses_in_words(self._format(), min(degree, self.max_sh_degree)):
            layout.label(text=line, icon="INFO")
        if not self.collection:
            layout.prop(self, "scope")
        layout.prop(self, "layout_of_files")
        layout.prop(self, "max_sh_degree")
        layout.prop(self, "axes")
        layout.prop(self, "scale")
        layout.prop(self, "animation")
        if self.animation:
            column = layout.column(align=True)
            for name in ("frame_start", "frame_end", "frame_step"):
                column.prop(self, name)

    def parts(self, context):
        """One file after the other; in an animation one frame after the other, and the scene's frame is put back."""
        path = self._path()
        if not self.animation:
            yield from self._files_now(context, path, None)
            return
        if self.frame_end < self.frame_start:
            raise InputError("export-frames", "The last frame comes before the first.", "Correct the frame range.")
        scene, before = context.scene, (context.scene.frame_current, context.scene.frame_subframe)
        try:
            for frame in range(self.frame_start, self.frame_end + 1, self.frame_step):
                scene.frame_set(frame)
                yield from self._files_now(context, path, frame)
        finally:
            scene.frame_set(before[0], subframe=before[1])

    def _files_now(self, context, path, frame):
        planned = plan_files(path, self._objects(context), each_alone=self.layout_of_files != "MERGED",
                             by_collection=self.layout_of_files == "COLLECTIONS", frame=frame)
        facts = ["source: Intern-GS for Blender",
                 f"unit: {context.scene.unit_settings.scale_length / self.scale:g} m"]
        for target, objects in planned.items():
            yield writer(target, [read_object(each) for each in objects], scale=self.scale,
                         max_sh_degree=self.max_sh_degree, file_axes=None if self.axes == "AUTO" else self.axes,
                         facts=facts)

    def finish_all(self, context, outcomes):
        """Say what was written, and what the format did not keep."""
        path, count = outcomes[-1]
        words = f"{number(count)} Gaussians to {path.name}" if len(outcomes) == 1 else (
            f"{len(outcomes)} files to {path.parent}")
        degree = max((sh_degree_of(each) for each in self._objects(context)), default=0)
        lost = losses_in_words(format_of(path), min(degree, self.max_sh_degree))
        self.report({"INFO"}, ". ".join([words, *lost]))
        return {"FINISHED"}

    def _format(self):
        return next(each for each in WRITABLE if each.name == self.file_format)

    def _path(self) -> Path:
        text = bpy.path.abspath(self.filepath)
        if not text:
            raise InputError("export-no-name", "The file has no name.", "Give the file a name.")
        known = text.lower().endswith(tuple(ending for each in FORMATS for ending in each.extensions))
        path = Path(text if known else with_ending(text, self._format()))
        if format_of(path).write is None:
            raise InputError("splat-format", f"{format_of(path).label} can only be read.", "Choose another format.")
        return path

    def _objects(self, context):
        if self.collection:
            group = bpy.data.collections.get(self.collection)
            return [each for each in group.all_objects if is_splat(each)] if group is not None else []
        if self.scope == "SELECTED":
            return [each for each in context.selected_objects if is_splat(each)]
        objects = [each for each in context.scene.objects if is_splat(each)]
        return objects if self.scope == "ALL" else [each for each in objects if each.visible_get()]


def losses_in_words(chosen, sh_degree: int) -> list[str]:
    """What a format does not keep of splats of an SH degree, one line each."""
    lines = [f"Rounded: {chosen.loss}"] if chosen.loss else []
    if sh_degree > chosen.sh_degree:
        lines.append("Colour no longer changes with the view" if chosen.sh_degree == 0 else
                     f"View-dependent colour cut to degree {chosen.sh_degree}")
    return lines or ["Nothing is lost"]


class INTERNGS_FH_splats(bpy.types.FileHandler):
    """Splat files dropped into a 3D view, and the exporter that a collection can have."""

    bl_idname = "INTERNGS_FH_splats"
    bl_label = "Gaussian Splats"
    bl_import_operator = "interngs.import_splats"
    bl_export_operator = "interngs.export_splats"
    bl_file_extensions = ";".join(dict.fromkeys(f".{ending.rpartition('.')[2]}" for ending in READABLE_ENDINGS))

    @classmethod
    def poll_drop(cls, context):
        """Into 3D views."""
        return context.area is not None and context.area.type == "VIEW_3D" and (
            context.region is None or context.region.type == "WINDOW")


def _draw_import(self, _context):
    self.layout.operator("interngs.import_splats", text="Gaussian Splats (.ply, .spz, .splat, .glb, .usda, .ksplat)")


def _draw_export(self, _context):
    self.layout.operator("interngs.export_splats", text="Gaussian Splats (.ply, .spz, .splat, .glb, .usda)")


def register() -> None:
    """Add the entries to Blender's File menu."""
    bpy.types.TOPBAR_MT_file_import.append(_draw_import)
    bpy.types.TOPBAR_MT_file_export.append(_draw_export)


def unregister() -> None:
    """Undo ``register``."""
    bpy.types.TOPBAR_MT_file_export.remove(_draw_export)
    bpy.types.TOPBAR_MT_file_import.remove(_draw_import)


CLASSES = (INTERNGS_OT_import_splats, INTERNGS_OT_export_splats, INTERNGS_FH_splats)
