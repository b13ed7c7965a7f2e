# SPDX-License-Identifier: GPL-3.0-or-later
"""The CPU renderer: kernels compiled on first use, bound by ctypes to two autograd functions."""
