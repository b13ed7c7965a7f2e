# SPDX-License-Identifier: GPL-3.0-or-later
"""Every setting of a reconstruction: frozen, documented, validated once, saved with each job."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from .errors import InputError
from .scene.clean import CleanSettings

Preset = Literal["draft", "normal", "high"]
GeometryMethod = Literal["auto", "dust3r", "plane-sweep", "given-depth"]
PRESETS: tuple[Preset, ...] = ("draft", "normal", "high")
# Settings come over the network too, and no peer may name a path.
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class SeedingConfig:
    """From dense geometry to first Gaussians (METHOD: redundancy-free selection)."""

    start: Literal["dense", "random"] = "dense"
    """``random`` ignores the geometry's points; it exists for the ablation."""
    remove_redundant: bool = True
    """Keep one copy of a surface that several views see."""
    depth_tolerance: float = 0.02
    """Relative depth difference under which a pixel shows a surface that is already there."""
    min_confidence: float = 1.0
    """Pixels below this confidence make no Gaussian (DUSt3R's convention: 1 a guess, 3 good)."""
    thin_flat_areas: bool = True
    """Give areas of even colour and depth one Gaussian for four pixels."""
    max_seeds: int = 200_000
    """Above this number every view is thinned evenly, to every second, third, ... row and column."""
    fill_behind: bool = True
    """Also seed what pseudo views see past the edges of near things, where no photograph looks."""
    fill_beyond: bool = True
    """Also seed what lies just beyond the photographs' frames, continued from their edges."""
    initial_opacity: float = 0.2
    """Opacity of a first Gaussian."""
    guess_opacity: float = 0.03
    """The same where the place is a guess: fainter, so that surfaces which are sure close before guesses around and
    behind them do (docs/method.md, section 5)."""


@dataclass(frozen=True)
class OptimiseConfig:
    """The optimiser's schedule, its terms and their weights."""

    steps: int = 900
    """Optimiser steps; every schedule below scales with it."""
    sh_degree: int | None = None
    """Spherical-harmonic degree; by default 1 up to 5 views, 2 up to 11, 3 above."""
    ssim_share: float = 0.2
    """Share of 1 - SSIM in the photometric loss; the rest is L1 (3DGS, eq. 7)."""
    mean_rate: float = 0.02
    """Learning rate of positions in pixel footprints of each seed; falls exponentially to a hundredth."""
    scale_rate: float = 0.03
    """Learning rate of log scales; six times that of 3DGS, for runs of hundreds of steps in place of 30 000."""
    quat_rate: float = 5e-3
    """Learning rate of quaternions."""
    opacity_rate: float = 0.05
    """Learning rate of opacity logits."""
    colour_rate: float = 2.5e-3
    """Learning rate of the constant SH band; higher bands take a twentieth."""
    confidence_rates: bool = True
    """Scale the position rate of each Gaussian by the doubt about it (InstantSplat)."""
    opacity_fade: float = 1.0
    """Opacity falls by exp(-fade) over the run where no photograph holds it up (Binocular3DGS: decay, no resets)."""
    alpha_weight: float = 0.05
    """Weight of the difference from what the photographs cover: all of their frames, or their alpha channel."""
    dropout: float = 0.2
    """Share of Gaussians left out at the last step; ramps up linearly from 0 (DropGaussian).  It holds off overfitting
    in long runs; a short one is only blurred by it (docs/method.md, section 5)."""
    depth_weight: float = 0.005
    """Weight of 1 - confidence-weighted Pearson correlation with the geometry's depth."""
    smooth_weight: float = 0.05
    """Weight of edge-aware smoothness of rendered inverse depth."""
    warp_weight: float = 1.0
    """Weight of L1 against cycle-checked warped photographs at pseudo views."""
    warp_fade: float = 0.95
    """Share of that weight that is gone at the last step; it falls linearly, since warped photographs hold the shape
    together but are softer than the photographs themselves."""
    warp_start: float = 0.1
    """Share of the steps after which pseudo views begin."""
    warp_every: int = 1
    """A pseudo view is rendered every so many steps."""
    pseudo_views: int = 64
    """How many pseudo views are prepared."""
    grow: bool = False
    """Clone Gaussians where the image gradient asks for more (never split, never reset)."""
    grow_from: float = 0.1
    grow_until: float = 0.5
    """Growth happens between these shares of the steps."""
    grow_gradient: float = 5e-4
    """Mean screen-space gradient above which a Gaussian is cloned (FSGS)."""
    max_gaussians: int = 1_000_000
    """Growth stops here."""
    prune_opacity: float = 0.005
    """Gaussians fainter than this are removed."""
    exposure: bool = True
    """Fit a gain and offset per colour channel and photograph, so unequal exposure is not baked in."""
    depth_prior_weight: float = 0.01
    """Weight of 1 - Pearson correlation with monocular depth at photographs (a fiftieth of it at the end)."""
    depth_prior_patch_weight: float = 0.01
    """The same within patches."""
    depth_prior_pseudo_weight: float = 0.05
    """Weight of 1 - Pearson correlation with monocular depth of the render at pseudo views."""
    depth_prior_rounds: int = 3
    """How many times the network looks at renders of pseudo views."""
    depth_prior_views: int = 16
    """At how many pseudo views."""
    appearance_weight: float = 0.1
    """Weight of L1 + SSIM against repaired renders; falls to 0 at the last step."""
    appearance_views: int = 10
    """How many pseudo views are repaired, at half and at three quarters of the steps."""
    refine_poses: bool = False
    """Optimise the cameras along with the Gaussians (METHOD: joint pose refinement)."""
    pose_rate: float = 1e-4
    """Learning rate of camera rotation (radians) and translation (scene scale)."""
    preview_every_s: float = 2.0
    """Least time between two previews."""
    checkpoint_every_s: float = 45.0
    """Most time between two checkpoints."""
    checkpoint_every_steps: int = 1000
    """Most steps between two checkpoints."""


@dataclass(frozen=True)
class PipelineConfig:
    """One reconstruction, start to end."""

    preset: Preset = "normal"
    """The preset the other values started from."""
    geometry: GeometryMethod = "auto"
    """Where dense points come from."""
    depth_prior: str = "auto"
    """Monocular depth: ``auto`` takes Depth Anything V2 Small when it is here; ``none``; or a model's name."""
    appearance_prior: str = "none"
    """Repair of unseen views: ``none``, ``controlnet-tile`` or ``img2img`` (Stable Diffusion 1.5), or a name."""
    max_side_px: int | None = 800
    """Photographs are reduced to this long side; ``None`` keeps them."""
    seed: int = 0
    """Same seed, same result (on the same kind of device)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` takes CUDA when gsplat can use it."""
    threads: int = 0
    """CPU threads; 0 takes all cores."""
    seeding: SeedingConfig = field(default_factory=SeedingConfig)
    optimise: OptimiseConfig = field(default_factory=OptimiseConfig)
    clean: CleanSettings = field(default_factory=CleanSettings)
    """What is removed from the finished Gaussians."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; ``from_dict`` reads it back."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> PipelineConfig:
        """A config from ``to_dict``'s form; missing keys take the preset's value.

        Raises:
            InputError: unknown key, wrong type or a value out of range.
        """
        base = preset_config(values.get("preset", "normal"))
        config: PipelineConfig = _merge(base, values, "config")
        validate_config(config)
        return config


def preset_config(preset: str) -> PipelineConfig:
    """The whole config of a preset: ``draft`` in a minute or two, ``normal``, ``high``."""
    if preset == "draft":
        return PipelineConfig("draft", max_side_px=512, seeding=SeedingConfig(max_seeds=150_000),
                              optimise=OptimiseConfig(steps=300, pseudo_views=24, dropout=0.0,
                                                      depth_prior_rounds=1, depth_prior_views=6))
    if preset == "normal":
        return PipelineConfig("normal")
    if preset == "high":
        return PipelineConfig("high", max_side_px=1280, seeding=SeedingConfig(max_seeds=600_000),
                              optimise=OptimiseConfig(steps=1200, pseudo_views=96, dropout=0.4))
    raise InputError("unknown-preset", f"There is no preset {preset!r}.", "Use draft, normal or high.")


def validate_config(config: PipelineConfig) -> None:
    """Raise ``InputError`` for values that cannot work."""
    optimise = config.optimise
    checks = [
        (optimise.steps >= 1, "optimise.steps must be at least 1"),
        (optimise.sh_degree is None or 0 <= optimise.sh_degree <= 3, "optimise.sh_degree must be 0 to 3"),
        (0 <= optimise.dropout < 1, "optimise.dropout must be in 0..1"),
        (optimise.opacity_fade >= 0, "optimise.opacity_fade must not be negative"),
        (optimise.alpha_weight >= 0, "optimise.alpha_weight must not be negative"),
        (optimise.warp_every >= 1, "optimise.warp_every must be at least 1"),
        (0 <= optimise.warp_fade <= 1, "optimise.warp_fade must be in 0..1"),
        (config.max_side_px is None or config.max_side_px >= 32, "max_side_px must be at least 32"),
        (min(optimise.depth_prior_weight, optimise.depth_prior_patch_weight, optimise.depth_prior_pseudo_weight,
             optimise.appearance_weight) >= 0, "weights of priors must not be negative"),
        (optimise.depth_prior_rounds >= 1, "optimise.depth_prior_rounds must be at least 1"),
        (optimise.depth_prior_views >= 1 and optimise.appearance_views >= 1, "priors need at least one view"),
        (all(map(_MODEL_NAME.fullmatch, (config.depth_prior, config.appearance_prior))),
         "depth_prior and appearance_prior are names of models (letters, digits, dots, hyphens), not paths"),
        (config.threads >= 0, "threads must not be negative"),
        (0 < config.seeding.initial_opacity < 1, "seeding.initial_opacity must be in 0..1"),
        (0 < config.seeding.guess_opacity < 1, "seeding.guess_opacity must be in 0..1"),
        (config.seeding.max_seeds >= 1, "seeding.max_seeds must be at least 1"),
    ]
    for fine, complaint in checks:
        if not fine:
            raise InputError("config-out-of-range", f"{complaint}.", "Correct the setting.")


def _merge(base: Any, values: dict[str, Any], where: str) -> Any:
    """``base`` with ``values`` put over it, types checked, recursively."""
    hints = get_type_hints(type(base))
    known = {entry.name for entry in fields(base)}
    changes: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise InputError("unknown-setting", f"{where} has no setting {key!r}.",
                             f"Known: {', '.join(sorted(known))}.")
        current = getattr(base, key)
        if is_dataclass(current):
            if not isinstance(value, dict):
                raise InputError("wrong-setting", f"{where}.{key} must be a table.", "Correct the setting.")
            changes[key] = _merge(current, value, f"{where}.{key}")
        else:
            changes[key] = _checked(value, hints[key], f"{where}.{key}")
    return replace(base, **changes)


def _checked(value: Any, hint: Any, where: str) -> Any:
    """``value`` when it fits the type ``hint`` (JSON's lists become tuples)."""
    if isinstance(value, list):
        value = tuple(value)
    options = (hint,) if get_origin(hint) in {None, Literal, tuple} else get_args(hint)
    if not any(_fits(value, option) for option in options):
        raise InputError("wrong-setting", f"{where} cannot be {value!r}.", f"Expected {hint}.")
    return float(value) if hint is float else value


def _fits(value: Any, option: Any) -> bool:
    if get_origin(option) is Literal:
        return value in get_args(option)
    if get_origin(option) is tuple:
        parts = get_args(option)
        return isinstance(value, tuple) and len(value) == len(parts) and all(map(_fits, value, parts))
    if option is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if option is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, option)
