# SPDX-License-Identifier: GPL-3.0-or-later
"""What client and backend say to each other (docs/protocol.md): bytes and records, numpy and msgpack, no sockets."""
