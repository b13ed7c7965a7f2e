# SPDX-License-Identifier: GPL-3.0-or-later
"""The service: sockets, jobs, store and workers.  Nothing here but the worker loads torch."""
