# SPDX-License-Identifier: GPL-3.0-or-later
"""Where jobs run: behind one contract, local processes or an engine that exists."""
