# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/blender.md explains every field and button that the panels show."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ADDON = ROOT / "blender_addon"
INTERNAL = {
    # kept in the file or by the window, never shown under this name
    "Captured Pose", "Frame at Submission", "Active Photograph", "Pairing Line", "Since Training", "Newest Render",
    "Active Server", "Job Command", "Command", "Show Job", "Direction", "Second Point", "Scale to Distance", "Draw As",
    # shown by a sign, or named by the switch before them
    "Box Keeps", "Sphere Keeps", "Least Opacity", "Largest Size", "Longest Needle", "Farther than Neighbours",
    "Least Photographs", "Add Server", "Remove Server", "Intern-GS Preferences", "Dismiss", "Cancel Render", "Add Crop",
    "Add Photographs", "Intern-GS Photographs", "Remove Photograph", "Clear Photographs", "Move Photograph",
    # shown as "Match by Name", "Import ...", "Export ..."
    "Match Cameras by Name", "Import Splats", "Export Splats",
}


def test_every_field_and_button_is_explained():
    text = " ".join((ROOT / "docs" / "blender.md").read_text("utf-8").split()).lower()
    sources = [*ADDON.glob("*properties.py"), ADDON / "preferences.py", *(ADDON / "ops").glob("*.py")]
    names = {name for source in sources for name in re.findall(
        r'(?:Property\([^)]*?\bname|\bbl_label) ?= ?"([^"]+)"', source.read_text("utf-8"), re.DOTALL)}
    assert len(names) > 120, "the pattern finds them"
    assert not sorted(name for name in names - INTERNAL if name.lower() not in text)
