# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole chain on a tiny wall: events in order, an honest report, stop and resume."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from interngs.config import OptimiseConfig, PipelineConfig, SeedingConfig, preset_config
from interngs.errors import InputError
from interngs.events import CheckpointSaved, Done, Event, Preview, Progress, Stage
from interngs.pipeline import reconstruct
from interngs.scene.capture import Capture

FIELDS = ("means", "quats", "log_scales", "opacity_logits", "sh")


def config(steps: int = 40, **changes: object) -> PipelineConfig:
    optimise = OptimiseConfig(steps=steps, pseudo_views=4, opacity_fade=0.1, preview_every_s=0.0)
    return replace(PipelineConfig(seeding=SeedingConfig(initial_opacity=0.6), optimise=optimise, device="cpu"),
                   **changes)  # type: ignore[arg-type]


def done_of(events: list[Event]) -> Done:
    assert isinstance(events[-1], Done)
    return events[-1]


def test_a_capture_becomes_gaussians_and_a_report(wall_capture: Capture, tmp_path: Path) -> None:
    events = list(reconstruct(wall_capture, config(), tmp_path))
    assert [event.name for event in events if isinstance(event, Stage)] == ["geometry", "seeding", "optimise", "clean"]
    done = done_of(events)
    report = done.report
    assert report["complete"]
    assert report["steps"] == 40
    assert report["geometry"]["method"] == "given-depth"
    assert report["geometry"]["reason"]
    assert report["seeding"]["before"] == 3 * 48 * 36
    assert report["seeding"]["redundant"] > 0
    assert report["gaussians"] == len(done.gaussians) > 500
    assert report["cameras"]["origin"] == "given"
    assert report["views"] == [view.name for view in wall_capture.views]
    assert PipelineConfig.from_dict(report["config"]) == config()
    assert any(isinstance(event, Preview) for event in events)
    last = [event for event in events if isinstance(event, Progress) and event.stage == "optimise"][-1]
    assert last.psnr_db is not None
    assert last.psnr_db > 25
    # The wall is where it is: z = 4 + 0.3 X.
    means = done.gaussians.means
    assert np.median(np.abs(means[:, 2] - 4 - 0.3 * means[:, 0])) < 0.05


def test_a_stopped_run_says_so_and_resumes_to_the_same_result(wall_capture: Capture, tmp_path: Path) -> None:
    whole = done_of(list(reconstruct(wall_capture, config(), tmp_path / "whole")))
    calls = 0

    def after_some_steps() -> bool:
        nonlocal calls
        calls += 1
        return calls > 20

    events = list(reconstruct(wall_capture, config(), tmp_path / "work", should_stop=after_some_steps))
    stopped = done_of(events)
    assert not stopped.report["complete"]
    assert 0 < stopped.report["steps"] < 40
    assert any(isinstance(event, CheckpointSaved) for event in events)
    resumed = done_of(list(reconstruct(wall_capture, config(), tmp_path / "work", resume=True)))
    assert resumed.report["complete"]
    for name in FIELDS:
        assert np.array_equal(getattr(whole.gaussians, name), getattr(resumed.gaussians, name)), name


def test_a_new_run_in_an_old_folder_forgets_the_old_checkpoints(wall_capture: Capture, tmp_path: Path) -> None:
    list(reconstruct(wall_capture, config(steps=12), tmp_path))
    list(reconstruct(wall_capture, config(steps=5), tmp_path))
    assert [entry.name for entry in (tmp_path / "checkpoints").iterdir()] == ["step-00000005"]


def test_a_run_stopped_during_geometry_just_ends(wall_capture: Capture, tmp_path: Path) -> None:
    events = list(reconstruct(wall_capture, config(), tmp_path, should_stop=lambda: True))
    assert not any(isinstance(event, Done) for event in events)


def test_errors_of_a_stage_reach_the_caller(wall_capture: Capture, tmp_path: Path) -> None:
    without_depth = Capture(tuple(replace(view, depth=None) for view in wall_capture.views))
    with pytest.raises(InputError, match="no depth"):
        list(reconstruct(without_depth, config(geometry="given-depth"), tmp_path))


def test_presets_differ_in_effort() -> None:
    steps = [preset_config(name).optimise.steps for name in ("draft", "normal", "high")]
    assert steps == sorted(steps)
    assert len(set(steps)) == 3
