# SPDX-License-Identifier: GPL-3.0-or-later
"""Connect, pair, run a local backend; errors and logs to the clipboard."""

from __future__ import annotations

import bpy

from ...interngs.errors import InputError
from ...interngs.link.address import is_loopback, parse_address
from ..package import ROOT
from ..preferences import LOCAL_ADDRESS, active_address, preferences
from ..session.session import session
from ..session.state import session_state
from .guarded import GuardedOperator


def require_online(address: str) -> None:
    """Honour Blender's online access for anything but this computer.

    Raises:
        InputError: the address leaves this computer and Blender is set to stay offline.
    """
    host, _ = parse_address(address)
    if not is_loopback(host) and not bpy.app.online_access:
        raise InputError("offline", f"Blender is set to stay offline, and {host} is another computer.",
                         "Allow Online Access under Preferences > System > Network, then connect again.")


class INTERNGS_OT_connect(GuardedOperator, bpy.types.Operator):
    """Connect to the chosen backend; a lost connection comes back by itself"""

    bl_idname = "interngs.connect"
    bl_label = "Connect"

    @classmethod
    def poll(cls, _context):
        """Only when not connected."""
        if session_state().link.phase not in ("idle", "closed", "refused"):
            cls.poll_message_set("Already connected or connecting")
            return False
        return True

    def run(self, _context):
        """Start connecting; returns at once."""
        address = active_address()
        require_online(address)
        session().connect(address)
        return {"FINISHED"}


class INTERNGS_OT_disconnect(GuardedOperator, bpy.types.Operator):
    """Leave the backend; its jobs go on"""

    bl_idname = "interngs.disconnect"
    bl_label = "Disconnect"

    @classmethod
    def poll(cls, _context):
        """Only when there is a connection."""
        if session_state().link.phase in ("idle", "closed"):
            cls.poll_message_set("Not connected")
            return False
        return True

    def run(self, _context):
        """Close the connection."""
        session().disconnect()
        return {"FINISHED"}


class INTERNGS_OT_start_local_backend(GuardedOperator, bpy.types.Operator):
    """Start a backend on this computer and connect to it"""

    bl_idname = "interngs.start_local_backend"
    bl_label = "Start Local Backend"

    @classmethod
    def poll(cls, _context):
        """One at a time."""
        if session().local.is_running:
            cls.poll_message_set("The local backend runs already")
            return False
        return True

    def run(self, _context):
        """Find it, start it, connect."""
        chosen = preferences()
        known = [entry.address for entry in chosen.servers]
        address = active_address()
        if not is_loopback(parse_address(address)[0]):
            address = next((each for each in known if is_loopback(parse_address(each)[0])), LOCAL_ADDRESS)
            if address not in known:
                entry = chosen.servers.add()
                entry.name, entry.address = "This Computer", address
                known.append(address)
            chosen.active_server = known.index(address)
        store = ("--store", bpy.path.abspath(chosen.backend_store)) if chosen.backend_store else ()
        session().start_local(bpy.path.abspath(chosen.backend_home) if chosen.backend_home else "", address, store)
        return {"FINISHED"}


class INTERNGS_OT_stop_local_backend(GuardedOperator, bpy.types.Operator):
    """Stop the backend on this computer; a running job goes on from its checkpoint at the next start"""

    bl_idname = "interngs.stop_local_backend"
    bl_label = "Stop Local Backend"

    @classmethod
    def poll(cls, _context):
        """Only one that this Blender started."""
        if not session().local.is_running:
            cls.poll_message_set("No backend was started from here")
            return False
        return True

    def run(self, _context):
        """Leave it, then ask it to end."""
        session().stop_local()
        return {"FINISHED"}


class INTERNGS_OT_pair(GuardedOperator, bpy.types.Operator):
    """Get to know the backend that printed this pairing line, and connect to it"""

    bl_idname = "interngs.pair"
    bl_label = "Pair"

    @classmethod
    def poll(cls, context):
        """The line must be there."""
        if not context.window_manager.interngs.pairing.strip():
            cls.poll_message_set("Paste the line that 'interngs-backend keys pair' printed")
            return False
        return True

    def run(self, context):
        """Pair, add the server to the list, connect."""
        settings = context.window_manager.interngs
        line = settings.pairing.strip()
        address = session().pairing_address(line)
        require_online(address)
        session().pair(line)
        chosen = preferences()
        known = [entry.address for entry in chosen.servers]
        if address not in known:
            entry = chosen.servers.add()
            entry.name, entry.address = parse_address(address)[0], address
            known.append(address)
        chosen.active_server = known.index(address)
        settings.pairing = ""
        return {"FINISHED"}


class INTERNGS_OT_add_server(GuardedOperator, bpy.types.Operator):
    """Add a backend to the list"""

    bl_idname = "interngs.add_server"
    bl_label = "Add Server"

    def run(self, _context):
        """A new row with this computer's address."""
        chosen = preferences()
        chosen.servers.add().name = "New Server"
        chosen.active_server = len(chosen.servers) - 1
        return {"FINISHED"}


class _ServerOperator(GuardedOperator):
    @classmethod
    def poll(cls, _context):
        """A server must be active."""
        chosen = preferences()
        if not 0 <= chosen.active_server < len(chosen.servers):
            cls.poll_message_set("The server list is empty")
            return False
        return True


class INTERNGS_OT_remove_server(_ServerOperator, bpy.types.Operator):
    """Take the active backend off the list; its key stays known"""

    bl_idname = "interngs.remove_server"
    bl_label = "Remove Server"

    def run(self, _context):
        """Remove the row."""
        chosen = preferences()
        chosen.servers.remove(chosen.active_server)
        chosen.active_server = max(min(chosen.active_server, len(chosen.servers) - 1), 0)
        return {"FINISHED"}


class INTERNGS_OT_forget_server_key(_ServerOperator, bpy.types.Operator):
    """Forget the key of the active backend, after it was set up anew; then pair with it again"""

    bl_idname = "interngs.forget_server_key"
    bl_label = "Forget Its Key"

    def invoke(self, context, event):
        """Ask first: the key protects against impostors."""
        return context.window_manager.invoke_confirm(self, event)

    def run(self, _context):
        """Forget the key."""
        session().forget_key(active_address())
        self.report({"INFO"}, "Key forgotten; pair again")
        return {"FINISHED"}


class INTERNGS_OT_open_preferences(GuardedOperator, bpy.types.Operator):
    """Open the add-on's preferences: servers, local backend"""

    bl_idname = "interngs.open_preferences"
    bl_label = "Intern-GS Preferences"

    def run(self, _context):
        """Show them."""
        bpy.ops.preferences.addon_show(module=ROOT)
        return {"FINISHED"}


class INTERNGS_OT_dismiss_error(GuardedOperator, bpy.types.Operator):
    """Hide this message"""

    bl_idname = "interngs.dismiss_error"
    bl_label = "Dismiss"

    @classmethod
    def poll(cls, _context):
        """Only with a message."""
        return session_state().error is not None

    def run(self, _context):
        """Forget the message."""
        session_state().error = None
        return {"FINISHED"}


class INTERNGS_OT_copy_details(GuardedOperator, bpy.types.Operator):
    """Copy this message with versions and technical details, to paste into a report"""

    bl_idname = "interngs.copy_details"
    bl_label = "Copy Details"

    @classmethod
    def poll(cls, _context):
        """Only with a message."""
        if session_state().error is None:
            cls.poll_message_set("There is no message")
            return False
        return True

    def run(self, context):
        """To the clipboard."""
        context.window_manager.clipboard = session_state().error.details
        return {"FINISHED"}


class INTERNGS_OT_copy_log(GuardedOperator, bpy.types.Operator):
    """Copy the local backend's log"""

    bl_idname = "interngs.copy_log"
    bl_label = "Copy Log"

    @classmethod
    def poll(cls, _context):
        """Only with a log."""
        if not session().local.log:
            cls.poll_message_set("The local backend has written nothing")
            return False
        return True

    def run(self, context):
        """To the clipboard."""
        context.window_manager.clipboard = "\n".join(session().local.log)
        return {"FINISHED"}


CLASSES = (INTERNGS_OT_connect, INTERNGS_OT_disconnect, INTERNGS_OT_start_local_backend,
           INTERNGS_OT_stop_local_backend, INTERNGS_OT_pair, INTERNGS_OT_add_server, INTERNGS_OT_remove_server,
           INTERNGS_OT_forget_server_key, INTERNGS_OT_open_preferences, INTERNGS_OT_dismiss_error,
           INTERNGS_OT_copy_details, INTERNGS_OT_copy_log)
