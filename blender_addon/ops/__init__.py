# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators, one file for each of the artist's tasks."""
