# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTML file that shows a splat beside its photographs, with everything inside; knows no bpy."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .png import png_bytes

ERROR_FULL_SCALE = 0.25
"""Mean absolute colour error that is drawn white."""


@dataclass(frozen=True, eq=False)
class Compared:
    """One photograph and the splat seen by its camera.

    Attributes:
        name: of the photograph.
        held_out: whether the splat was made without this photograph.
        photo, splat: [H, W, 3] sRGB in 0..1.
        seen: [H, W], where the photograph shows something; the rest is not compared.
    """

    name: str
    held_out: bool
    photo: NDArray[np.float32]
    splat: NDArray[np.float32]
    seen: NDArray[np.bool_]

    @property
    def psnr_db(self) -> float:
        """Peak signal-to-noise ratio; infinite when they are equal."""
        mean = float(np.mean((self.photo.astype(np.float64) - self.splat)[self.seen] ** 2))
        return -10 * math.log10(mean) if mean > 0 else math.inf


def report_page(title: str, compared: Sequence[Compared], facts: Sequence[tuple[str, str]], note: str) -> str:
    """The page: means on top, then photograph | splat | difference of each view (held-out ones first), then facts.

    Args:
        title: of the splat.
        compared: at least one view.
        facts: (label, value) of how it was made.
        note: one sentence below the title.
    """
    ordered = sorted(compared, key=lambda each: not each.held_out)
    rows = "".join(_row(each) for each in ordered)
    table = "".join(f"<tr><td>{html.escape(label)}<td>{html.escape(value)}" for label, value in facts)
    return (f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
            f"<title>{html.escape(title)}</title><style>{STYLE}</style><h1>{html.escape(title)}</h1>"
            f"<p>{html.escape(note)}</p><div class=figures>{_means(ordered)}</div>"
            f"<div class=views><b>Photograph</b><b>Splat</b><b>Difference</b>{rows}</div>"
            f"<h2>How it was made</h2><table>{table}</table></html>\n")


def _means(compared: Sequence[Compared]) -> str:
    parts = []
    for held_out, words in ((True, "held-out photographs"), (False, "photographs it was made from")):
        chosen = [each.psnr_db for each in compared if each.held_out == held_out]
        if chosen:
            parts.append(f"<div><b>{np.mean(chosen):.2f} dB</b><span>mean PSNR over {len(chosen)} {words}</span></div>")
    return "".join(parts)


def _row(each: Compared) -> str:
    error = np.abs(each.photo - each.splat).mean(axis=2) * each.seen / ERROR_FULL_SCALE
    kind = "held out" if each.held_out else "trained with"
    pictures = "".join(f"<img alt='' src='data:image/png;base64,{base64.b64encode(png_bytes(_bytes(image))).decode()}'>"
                       for image in (each.photo, each.splat, error))
    return f"<h3>{html.escape(each.name)} <span>{kind}, {each.psnr_db:.2f} dB</span></h3>{pictures}"


def _bytes(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


STYLE = """
body{margin:2rem auto;max-width:100rem;padding:0 1rem;background:#18181b;color:#e4e4e7}
body{font:16px/1.5 system-ui,sans-serif}
h1,h2,h3{font-weight:600}h3{grid-column:1/-1;margin:.8rem 0 0}h3 span,.figures span,p{color:#a1a1aa;font-weight:400}
.views{display:grid;grid-template-columns:1fr 1fr 1fr;gap:.4rem}img{width:100%;border-radius:4px}
.figures{display:flex;flex-wrap:wrap;gap:1rem;margin:1rem 0}
.figures div{background:#27272a;border-radius:6px;padding:.6rem 1rem}.figures b{display:block;font-size:1.5rem}
td{padding:.2rem 1rem .2rem 0;border-bottom:1px solid #3f3f46;vertical-align:top}
"""
