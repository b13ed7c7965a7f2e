# SPDX-License-Identifier: GPL-3.0-or-later
"""What a splat object is, in lines for the result panel."""

from __future__ import annotations

import bpy

from ..session.wording import number, report_lines
from .splat_arrays import SH_PREFIX
from .splat_object import find, is_splat, point_count

STATES = {"PREVIEW": "Preview while training", "PARTIAL": "Stopped before its end", "FINAL": "Finished"}
DEGREE_OF_COEFFICIENTS = {0: 0, 3: 1, 8: 2, 15: 3, 24: 4}


def shown_splat(context: bpy.types.Context) -> bpy.types.Object | None:
    """The active object when it holds Gaussians, else the scene's job's object."""
    if is_splat(context.active_object):
        return context.active_object
    return find(context.scene.interngs.job.job_id)


def splat_facts(splat: bpy.types.Object) -> list[tuple[str, str]]:
    """(label, value) pairs: state, Gaussians, SH degree, size, then the report's."""
    facts = splat.interngs_splat
    coefficients = sum(1 for each in splat.data.attributes if each.name.startswith(SH_PREFIX))
    lines = []
    if facts.is_splat:
        lines.append(("State", STATES[facts.state] + (f", step {facts.step}" if facts.state != "FINAL" else "")))
    lines += [("Gaussians", number(point_count(splat.data))),
              ("View dependence", f"SH degree {DEGREE_OF_COEFFICIENTS.get(coefficients, '?')}"),
              ("Size", " x ".join(f"{side:.3g}" for side in splat.dimensions))]
    return lines + list(report_lines(facts.report_json))
