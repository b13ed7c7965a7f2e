# SPDX-License-Identifier: GPL-3.0-or-later
"""The one client of the service: a socket thread behind calls that never wait; pyzmq, msgpack, numpy, stdlib."""

from .link import Link
from .sources import CaptureSource, FrameSource, RenderSource, ViewSource
from .state import LinkState
from .updates import (
    EventArrived,
    JobChanged,
    PreviewArrived,
    ProgressChanged,
    ServerNotice,
    StateChanged,
    TransferChanged,
    TransferFailed,
    Update,
)

__all__ = ["CaptureSource", "EventArrived", "FrameSource", "JobChanged", "Link", "LinkState", "PreviewArrived",
           "ProgressChanged", "RenderSource", "ServerNotice", "StateChanged", "TransferChanged", "TransferFailed",
           "Update", "ViewSource"]
