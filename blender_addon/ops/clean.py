# SPDX-License-Identifier: GPL-3.0-or-later
"""Crop boxes and spheres, removing what the filters mark, and editing Gaussians by hand."""

from __future__ import annotations

from typing import ClassVar

import bpy
import numpy as np
from bpy.props import EnumProperty

from ...interngs.errors import InputError
from ...interngs.scene.marks import Marks, mark
from ..scene.crops import add_crop
from ..scene.point_edit import edit_by_hand
from ..scene.splat_edit import AllArrays, read_all, show_subset
from ..scene.splat_object import is_splat, point_count
from ..scene.training_views import training_views
from ..session.marking import finished_marks, marking, read_measures, thresholds_of
from ..session.wording import number
from .guarded import GuardedOperator
from .on_splat import OnSplat
from .threaded import ThreadedOperator


class INTERNGS_OT_add_crop(OnSplat, GuardedOperator, bpy.types.Operator):
    """Add an empty round the splat that crops it; move, turn and scale it like any object"""

    bl_idname = "interngs.add_crop"
    bl_label = "Add Crop"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    shape: EnumProperty(name="Shape", items=[("box", "Box", "Crop by a box"), ("sphere", "Sphere", "Crop by a sphere")])

    def run(self, context):
        """Add it; the splat stays active, so that the panel stays with it."""
        empty = add_crop(context.active_object, self.shape)
        self.report({"INFO"}, f"{empty.name} added: move and scale it to crop")
        return {"FINISHED"}


class INTERNGS_OT_clean(OnSplat, ThreadedOperator, bpy.types.Operator):
    """Remove what the filters mark. The filters stay as they are set, and can be run again"""

    bl_idname = "interngs.clean"
    bl_label = "Remove Marked"
    bl_options: ClassVar = {"REGISTER", "UNDO"}
    doing = "Measuring the Gaussians"

    def prepare(self, context):
        """Take the panel's marks when they are up to date, else measure again."""
        splat = context.active_object
        self._splat, self._count = splat.name, point_count(splat.data)
        arrays, known, thresholds = read_all(splat), finished_marks(splat), thresholds_of(splat)
        measures = None if known is not None else read_measures(splat, training_views(context.scene, splat))

        def work() -> tuple[Marks, AllArrays | None]:
            marks = known if measures is None else mark(measures, thresholds)
            return marks, arrays.subset(marks.kept) if marks.removed else None

        return work

    def finish(self, _context, outcome):
        """Remove."""
        marks, left = outcome
        splat = bpy.data.objects.get(self._splat)
        if not is_splat(splat) or point_count(splat.data) != self._count or len(marks.first) != self._count:
            raise InputError("splat-changed", "The splat changed while it was measured.", "Press Remove Marked again.")
        if left is None:
            self.report({"INFO"}, "The filters mark nothing")
            return {"CANCELLED"}
        show_subset(splat, left)
        marking().changed()
        self.report({"INFO"}, f"{number(marks.removed)} of {number(self._count)} Gaussians removed")
        return {"FINISHED"}


class INTERNGS_OT_edit_points(OnSplat, GuardedOperator, bpy.types.Operator):
    """Select Gaussians by hand with Blender's own tools (box, circle, lasso) and delete them"""

    bl_idname = "interngs.edit_points"
    bl_label = "Edit Points"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    select: EnumProperty(
        name="Select", default="NONE", options={"SKIP_SAVE"}, description="What is selected to begin with",
        items=[("NONE", "Nothing", "Begin with nothing selected"),
               ("MARKED", "Marked", "Begin with what the filters mark")])

    def run(self, context):
        """Enter edit mode."""
        splat = context.active_object
        chosen = np.zeros(point_count(splat.data), bool)
        if self.select == "MARKED":
            marks = finished_marks(splat)
            if marks is None:
                raise InputError("marks-not-ready", "The filters are still measuring.",
                                 "Wait until the counts are shown.")
            chosen = ~marks.kept
        edit_by_hand(context, splat, chosen)
        return {"FINISHED"}


CLASSES = (INTERNGS_OT_add_crop, INTERNGS_OT_clean, INTERNGS_OT_edit_points)
