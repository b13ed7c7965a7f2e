# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's end of the service: state that panels read, the pump that fills it, the local backend."""
