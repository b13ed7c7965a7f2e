# SPDX-License-Identifier: GPL-3.0-or-later
"""Every limit of the protocol, in one place; ``Limits`` holds those that a server may set and tells in its hello."""

from __future__ import annotations

from dataclasses import dataclass

CONTROL_PORT = 47800
"""Default port of the control lane; the bulk lane takes the next one."""

CONTROL_FRAME_BYTES = 256 << 10
"""Largest frame on the control lane (ZMQ_MAXMSGSIZE and decoder)."""
CHUNK_BYTES = 512 << 10
"""Bytes of an upload chunk, as a server tells its clients."""
CHUNK_MOST_BYTES = 1 << 20
"""Most bytes of one upload chunk."""
FETCH_BYTES = 4 << 20
"""Most bytes of one download chunk."""
FETCH_WHOLE_BYTES = 1 << 20
"""A range of up to so many bytes is answered whole; of a longer one a server may send the first part only."""
BULK_FRAME_BYTES = CHUNK_MOST_BYTES + (64 << 10)
"""Largest frame that a server takes on the bulk lane."""
CHUNK_FRAME_BYTES = FETCH_BYTES + (64 << 10)
"""Largest frame that a client takes there."""
CREDIT = 8
"""Unanswered chunks, up or down, that a client may have."""

HEADER_ITEMS = 2048
"""Most items of one list or map in a header."""
HEADER_TEXT_BYTES = 64 << 10
"""Longest text or byte string in a header."""
HEADER_DEPTH = 12
"""Deepest nesting of settings; everything else is as deep as its record."""
RAW_FRAMES = 8
"""Most raw frames of a message."""
ARRAY_DIMENSIONS = 4
"""Most axes of an array."""

BAD_MESSAGES = 8
"""Malformed messages after which a peer is ignored."""
IGNORE_S = 60.0
"""How long such a peer is ignored, seconds."""

HEARTBEAT_S = 2.0
"""Default interval of pings, seconds."""
HEARTBEAT_MISSES = 4
"""Silent intervals after which the other side is taken for gone."""
RETRY_FIRST_S = 0.5
RETRY_LONGEST_S = 30.0
"""Back-off of a client that lost its server, seconds; doubling with jitter."""

JOBS_PAGE = 100
"""Most jobs of one answer to ``jobs``."""
EVENT_WINDOW = 64
"""Unacknowledged events of one job on their way to one client."""
JOB_EVENTS = 20_000
"""Most events a job keeps."""
JOB_LOG_EVENTS = 19_000
"""Past this count log lines are no longer stored, so that states and results always have room."""
LOG_LINE_CHARACTERS = 2000
"""Longer log lines are cut."""
NAME_CHARACTERS = 200
"""Longest name or title."""
REPLIES_KEPT = 1000
REPLIES_KEPT_S = 7 * 86_400.0
"""Stored answers of one client, by number and by age."""
PARTIAL_UPLOAD_KEPT_S = 7 * 86_400.0
"""Age after which an unfinished upload is removed."""
PREVIEWS_KEPT = 3
"""Newest previews of a job that can be fetched."""
PREVIEW_BLOCK = 65_536
"""Gaussians of one preview block."""
REPORT_BYTES = 16 << 20
"""Largest JSON report."""
RENDER_FRAMES = 64
"""Most frames of one render job; a client sends a longer animation as several jobs."""
RENDER_PIXELS = 40_000_000
"""Most pixels of all frames of one render job; its result has at most twelve bytes each."""
RENDER_SPLATS = 64
"""Most splats of one render job."""


@dataclass(frozen=True)
class Limits:
    """Limits for one client, as a server sets them."""

    views: int = 256
    """Views of one capture."""
    image_bytes: int = 64 << 20
    """Bytes of one image, mask or depth file."""
    image_pixels: int = 80_000_000
    """Pixels of one image."""
    capture_bytes: int = 4 << 30
    """Bytes of all blobs of one capture."""
    stored_bytes: int = 20 << 30
    """Bytes kept for one client: photos, results, job folders."""
    jobs_waiting: int = 16
    """Jobs of one client that are uploading or queued."""
    jobs_waiting_total: int = 256
    """Jobs of all clients that are uploading or queued."""
    jobs_kept: int = 500
    """Jobs of one client, finished ones included."""
    messages_per_s: float = 200.0
    """Steady rate of control messages of one client."""
    message_burst: int = 400
    """Control messages that may come at once."""
    gaussians: int = 10_000_000
    """Gaussians of one result."""
    sessions: int = 512
    """Connected clients of one server."""
