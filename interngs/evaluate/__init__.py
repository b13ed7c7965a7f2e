# SPDX-License-Identifier: GPL-3.0-or-later
"""How good a reconstruction is: metrics, the field's protocols, pictures and reports."""
