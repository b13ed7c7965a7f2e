# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's preferences: servers, the local backend, what happens when Blender starts and ends."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, CollectionProperty, IntProperty, StringProperty

from ..interngs.wire.limits import CONTROL_PORT
from .package import ROOT

LOCAL_ADDRESS = f"tcp://127.0.0.1:{CONTROL_PORT}"


class ServerEntry(bpy.types.PropertyGroup):
    """A backend that the artist knows."""

    address: StringProperty(
        name="Address", default=LOCAL_ADDRESS, description="tcp://host:port; the port may be left out")


class InternGSPreferences(bpy.types.AddonPreferences):
    """Settings of this computer, not of a file."""

    bl_idname = ROOT

    servers: CollectionProperty(type=ServerEntry, name="Servers")
    active_server: IntProperty(name="Active Server", description="The backend that Connect uses")
    connect_at_start: BoolProperty(
        name="Connect When Blender Starts", default=False,
        description="Connect to the active server as soon as the add-on is enabled")
    backend_home: StringProperty(
        name="Local Backend", subtype="DIR_PATH",
        description="Folder of the Intern-GS checkout or of its Python environment; empty looks on the PATH")
    backend_store: StringProperty(
        name="Store", subtype="DIR_PATH", description="Where the local backend keeps jobs; empty takes its own choice")
    stop_backend_at_exit: BoolProperty(
        name="Stop Local Backend With Blender", default=True,
        description="A running job goes on from its checkpoint when the backend is started again")

    def draw(self, _context: bpy.types.Context) -> None:
        """Servers, then the local backend."""
        layout = self.layout
        layout.use_property_split = True
        box = layout.box()
        box.label(text="Servers", icon="NETWORK_DRIVE")
        row = box.row()
        row.template_list("INTERNGS_UL_servers", "", self, "servers", self, "active_server", rows=3)
        column = row.column(align=True)
        column.operator("interngs.add_server", text="", icon="ADD")
        column.operator("interngs.remove_server", text="", icon="REMOVE")
        if 0 <= self.active_server < len(self.servers):
            box.prop(self.servers[self.active_server], "name", text="Name")
            box.prop(self.servers[self.active_server], "address")
            box.operator("interngs.forget_server_key", icon="KEYTYPE_EXTREME_VEC")
        box.prop(self, "connect_at_start")
        box = layout.box()
        box.label(text="Local Backend", icon="CONSOLE")
        box.prop(self, "backend_home")
        box.prop(self, "backend_store")
        box.prop(self, "stop_backend_at_exit")


class INTERNGS_UL_servers(bpy.types.UIList):
    """Servers by name and address."""

    bl_idname = "INTERNGS_UL_servers"

    def draw_item(self, _context, layout, _data, item, _icon, _active_data, _active_property, *_rest):
        """One server."""
        row = layout.row()
        row.prop(item, "name", text="", emboss=False, icon="NETWORK_DRIVE")
        row.label(text=item.address)


CLASSES = (ServerEntry, INTERNGS_UL_servers, InternGSPreferences)


def preferences() -> InternGSPreferences:
    """The add-on's preferences, with the local server in the list if it was empty."""
    return bpy.context.preferences.addons[ROOT].preferences


def active_address() -> str:
    """Address of the active server; the local one while the list is empty."""
    chosen = preferences()
    if 0 <= chosen.active_server < len(chosen.servers):
        return chosen.servers[chosen.active_server].address
    return LOCAL_ADDRESS


def register() -> None:
    """Register the classes and offer the local server."""
    for each in CLASSES:
        bpy.utils.register_class(each)
    addon = bpy.context.preferences.addons.get(ROOT)
    if addon is not None and addon.preferences is not None and not len(addon.preferences.servers):
        entry = addon.preferences.servers.add()
        entry.name = "This Computer"


def unregister() -> None:
    """Undo ``register``."""
    for each in reversed(CLASSES):
        bpy.utils.unregister_class(each)
