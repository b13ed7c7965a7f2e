# SPDX-License-Identifier: GPL-3.0-or-later
"""Splat files for the command line: formats that need further libraries, and conversion between all of them."""
