# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar's panels: they draw what the session's state says, and do nothing else."""
