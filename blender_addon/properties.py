# SPDX-License-Identifier: GPL-3.0-or-later
"""What is saved in the .blend: photographs, capture, rig and job settings of a scene, facts of a splat; no logic."""

from __future__ import annotations

import math

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    FloatVectorProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from .compat import blend_relative
from .preferences import LOCAL_ADDRESS, preferences
from .scene.splat_object import shown_as

RELATIVE = blend_relative()


def _is_camera(_self: PhotoRow, candidate: bpy.types.Object) -> bool:
    return candidate.type == "CAMERA"


class PhotoRow(bpy.types.PropertyGroup):
    """One photograph of the list."""

    path: StringProperty(
        name="Image", subtype="FILE_PATH", options=RELATIVE,
        description="The photograph: JPEG, PNG or WebP; it is never changed")
    use: BoolProperty(
        name="Use", default=True, description="Reconstruct from this photograph; switched-off ones stay in the list")
    camera: PointerProperty(
        name="Camera", type=bpy.types.Object, poll=_is_camera,
        description="The camera object that stands where this photograph was taken")
    mask_path: StringProperty(
        name="Mask", subtype="FILE_PATH", options=RELATIVE,
        description="Black-and-white image of the same size: white is reconstructed, black is ignored")
    depth_path: StringProperty(
        name="Depth", subtype="FILE_PATH", options=RELATIVE,
        description="Exact depth of a scene capture (.npy), used as geometry")
    width_px: IntProperty(name="Width", description="Width in the image file's header", min=0)
    height_px: IntProperty(name="Height", description="Height in the image file's header", min=0)
    fixed_camera: StringProperty(
        name="Captured Pose", description="Lens and pose at which this image was rendered; kept with the picture")
    distortion: StringProperty(
        name="Lens Distortion", description="Distortion model and coefficients that came with the pose file")
    warning: StringProperty(name="Warning", description="What the check found about this photograph")
    warning_is_error: BoolProperty(name="Error", description="The warning keeps the reconstruction from starting")


RIG_KINDS = [
    ("ARC", "Arc", "Cameras on part of a circle around the selection: for walls, fronts and reliefs"),
    ("RING", "Ring", "Cameras on a full circle around the selection: for objects seen from the side"),
    ("DOME", "Dome", "Cameras spread evenly over a dome above the selection: for objects seen from everywhere"),
]


class RigSettings(bpy.types.PropertyGroup):
    """The camera rig that one click makes."""

    kind: EnumProperty(name="Shape", items=RIG_KINDS, default="ARC", description="How the cameras are placed")
    count: IntProperty(
        name="Cameras", default=8, min=2, soft_max=24, max=200, description="How many cameras the rig gets")
    elevation: FloatProperty(
        name="Elevation", subtype="ANGLE", default=math.radians(20), min=math.radians(-80), max=math.radians(80),
        description="Height of the cameras above the target's horizon; the lowest cameras of a dome")
    span: FloatProperty(
        name="Span", subtype="ANGLE", default=math.radians(60), min=math.radians(1), max=math.radians(350),
        description="Horizontal angle that the arc covers; its middle faces the current view or the front")
    focal_mm: FloatProperty(
        name="Focal Length", default=50.0, min=1.0, soft_max=200.0, unit="CAMERA",
        description="Focal length of the rig's cameras; the distance follows, so that the selection fits")
    distance_factor: FloatProperty(
        name="Distance", default=1.0, min=0.2, soft_max=4.0, max=50.0, subtype="FACTOR",
        description="1 fits the selection into the picture; larger stands farther away")
    collection: PointerProperty(
        name="Rig", type=bpy.types.Collection, description="The collection that holds the newest rig's cameras")


class CaptureSettings(bpy.types.PropertyGroup):
    """How the scene's own cameras are rendered."""

    source: EnumProperty(
        name="Cameras", default="SELECTED", description="Which cameras are rendered",
        items=[("SELECTED", "Selected", "The selected camera objects"),
               ("RIG", "Rig", "The cameras of the rig's collection"),
               ("ALL", "All", "Every camera of the scene")])
    engine: EnumProperty(
        name="Engine", default="SCENE",
        description="What renders the colour; exact depth and a subject's mask always come from Cycles",
        items=[("SCENE", "Scene's Engine", "The render engine and settings of this scene"),
               ("WORKBENCH", "Workbench", "Fast flat shading, to try things out")])
    width_px: IntProperty(
        name="Width", default=800, min=64, max=8192, subtype="PIXEL", description="Width of the captured images")
    height_px: IntProperty(
        name="Height", default=600, min=64, max=8192, subtype="PIXEL", description="Height of the captured images")
    samples: IntProperty(
        name="Samples", default=0, min=0, max=65536,
        description="Samples per pixel when the engine is Cycles; 0 keeps the scene's own setting")
    depth: BoolProperty(
        name="Exact Depth", default=True,
        description="Also render exact depth: the reconstruction then starts on the true surface")
    mask: BoolProperty(
        name="Object Mask", default=False,
        description="Make the background transparent: only the objects are reconstructed, with nothing around them")
    subject: PointerProperty(
        name="Subject", type=bpy.types.Collection,
        description="The mask keeps the objects of this collection; empty keeps everything that is not background")
    folder: StringProperty(
        name="Folder", subtype="DIR_PATH", options=RELATIVE, default="",
        description="Where the captured images are written; empty takes a folder beside the .blend")


PRESETS = [
    ("draft", "Draft", "A first look in about a minute and a half on a processor, seconds on a GPU"),
    ("normal", "Normal", "Sharper; some minutes on a processor"),
    ("high", "High", "Sharpest, from larger photographs; five minutes and more on a processor"),
]
GEOMETRY = [
    ("auto", "Automatic", "Exact depth when the capture has it, else the best geometry that this backend has"),
    ("given-depth", "Captured Depth", "The exact depth of a scene capture"),
    ("plane-sweep", "Plane Sweep", "Stereo from the posed photographs; needs no downloaded weights"),
    ("dust3r", "DUSt3R", "Vision model; needs its weights on the backend. Its licence forbids commercial use"),
]
DEPTH_PRIORS = [
    ("auto", "Automatic", "A depth network helps where its weights are on the backend"),
    ("none", "None", "Only the photographs and the geometry count"),
]
APPEARANCE_PRIORS = [
    ("none", "As Trained", "What no photograph shows stays what the training makes of it"),
    ("controlnet-tile", "Repaired (ControlNet Tile)",
     "A diffusion model repairs views that nobody took; needs its weights on the backend, and a GPU to be quick"),
    ("img2img", "Repaired (Stable Diffusion)",
     "As ControlNet Tile, with the plain model: freer, and less true to the scene"),
]


class JobSettings(bpy.types.PropertyGroup):
    """What is asked of the backend, and which job this scene is bound to."""

    title: StringProperty(name="Title", description="Name of the job and of its object; empty takes the file's name")
    preset: EnumProperty(name="Preset", items=PRESETS, default="normal", description="Time against quality")
    geometry: EnumProperty(name="Geometry", items=GEOMETRY, default="auto", description="Where dense points come from")
    depth_prior: EnumProperty(
        name="Depth Network", items=DEPTH_PRIORS, default="auto",
        description="Whether a network's guess of depth helps where the photographs say little")
    appearance_prior: EnumProperty(
        name="Unseen Views", items=APPEARANCE_PRIORS, default="none",
        description="Whether a diffusion model helps in views that nobody took")
    poses: EnumProperty(
        name="Poses", default="CAMERAS", description="Where the photographs' camera poses come from",
        items=[("CAMERAS", "Known", "From camera objects, a pose file or a scene capture; kept as they are"),
               ("ESTIMATE", "Estimate", "The backend estimates them; cameras are added to the scene afterwards")])
    max_side_px: IntProperty(
        name="Largest Side", default=0, min=0, max=8192, subtype="PIXEL",
        description="Photographs are reduced to this long side before the reconstruction; 0 takes the preset's own")
    seed: IntProperty(name="Seed", default=0, min=0, description="Same seed and settings, same result")
    priority: IntProperty(
        name="Priority", default=0, min=-10, max=10, description="Higher goes before your own other waiting jobs")
    preview_gaussians: IntProperty(
        name="Preview Limit", default=200_000, min=1000, max=2_000_000,
        description="Most Gaussians shown while training; the finished result always comes whole")
    job_id: StringProperty(name="Job", description="The job that this scene shows; kept in the file")
    server_id: StringProperty(name="Server", description="The backend that has the job")
    frame_object: PointerProperty(
        name="Frame", type=bpy.types.Object, description="The parent of the cameras, which the Gaussians follow")
    frame_matrix: FloatVectorProperty(
        name="Frame at Submission", size=16, description="Where that parent stood when the job began")


class SceneSettings(bpy.types.PropertyGroup):
    """Everything of Intern-GS that belongs to a scene."""

    photos: CollectionProperty(type=PhotoRow, name="Photographs")
    active_photo: IntProperty(name="Active Photograph", description="The photograph whose details are shown")
    rig: PointerProperty(type=RigSettings)
    capture: PointerProperty(type=CaptureSettings)
    job: PointerProperty(type=JobSettings)


class SplatInfo(bpy.types.PropertyGroup):
    """What an object that holds Gaussians says about them; saved, so that it is known without the backend."""

    is_splat: BoolProperty(name="Gaussian Splat", description="Made by Intern-GS")
    job_id: StringProperty(name="Job", description="The job whose Gaussians these are")
    server_id: StringProperty(name="Server", description="The backend that trained them")
    step: IntProperty(name="Step", description="Training step of these Gaussians")
    state: EnumProperty(
        name="State", default="PREVIEW", description="Whether these are the finished Gaussians",
        items=[("PREVIEW", "Preview", "A subset of the Gaussians in training"),
               ("PARTIAL", "Partial", "All Gaussians of a job that was stopped"),
               ("FINAL", "Final", "The finished Gaussians")])
    report_json: StringProperty(name="Report", description="The backend's report, as JSON")


_shown_servers: list[tuple[str, str, str]] = []
"""Blender needs the texts of a dynamic list to stay alive."""


def _server_items(_self, _context):
    known = preferences().servers
    _shown_servers[:] = [(str(number), entry.name or entry.address, entry.address)
                         for number, entry in enumerate(known)] or [("0", "This Computer", LOCAL_ADDRESS)]
    return _shown_servers


def _get_server(_self):
    chosen = preferences()
    return min(max(chosen.active_server, 0), max(len(chosen.servers) - 1, 0))


def _set_server(_self, value):
    preferences().active_server = value


PREVIEW_MODES = [
    ("SPLATS", "Splats", "Gaussians as they were trained to look"),
    ("ELLIPSOIDS", "Ellipsoids", "The surface of each Gaussian at one and a half standard deviations"),
    ("POINTS", "Points", "The centre of each Gaussian"),
    ("DEPTH", "Depth", "Gaussians in shades of their distance; near is bright"),
]


def _preview_switched(self, _context):
    for each in bpy.data.objects:
        if each.interngs_splat.is_splat:
            each.display_type = shown_as(self.show_preview)
    _redraw(self, _context)


def _redraw(_self, context):
    for area in context.screen.areas if context.screen is not None else ():
        area.tag_redraw()


class WindowSettings(bpy.types.PropertyGroup):
    """What the panels keep while Blender runs; never saved."""

    server: EnumProperty(
        name="Server", items=_server_items, get=_get_server, set=_set_server,
        description="The backend that Connect uses; more are added in the add-on's preferences")
    show_preview: BoolProperty(
        name="Draw Gaussians", default=True, update=_preview_switched,
        description="Draw true Gaussians in the 3D views; off shows each as a point of its size")
    preview_mode: EnumProperty(
        name="Draw As", items=PREVIEW_MODES, default="SPLATS", update=_redraw,
        description="How Gaussians are drawn in the 3D views; renders are not changed")
    preview_opacity: FloatProperty(
        name="Opacity", default=1.0, min=0.0, max=4.0, soft_max=1.0, subtype="FACTOR", update=_redraw,
        description="Factor on every Gaussian's opacity in the 3D views; nothing is changed in the object")
    preview_size: FloatProperty(
        name="Size", default=1.0, min=0.0, max=10.0, soft_max=2.0, subtype="FACTOR", update=_redraw,
        description="Factor on every Gaussian's size in the 3D views; nothing is changed in the object")
    pairing: StringProperty(
        name="Pairing Line", description="The whole line that 'interngs-backend keys pair' printed",
        options={"SKIP_SAVE"})


CLASSES = (PhotoRow, RigSettings, CaptureSettings, JobSettings, SceneSettings, SplatInfo,
           WindowSettings)


def register() -> None:
    """Register the groups and hang them on scenes and objects."""
    for each in CLASSES:
        bpy.utils.register_class(each)
    bpy.types.Scene.interngs = PointerProperty(type=SceneSettings)
    bpy.types.Object.interngs_splat = PointerProperty(type=SplatInfo)
    bpy.types.WindowManager.interngs = PointerProperty(type=WindowSettings)


def unregister() -> None:
    """Undo ``register``."""
    del bpy.types.WindowManager.interngs
    del bpy.types.Object.interngs_splat
    del bpy.types.Scene.interngs
    for each in reversed(CLASSES):
        bpy.utils.unregister_class(each)
