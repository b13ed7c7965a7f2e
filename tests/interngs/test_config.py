# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings: presets, the way through JSON, and what is refused."""

import json

import pytest

from interngs.config import PRESETS, PipelineConfig, preset_config
from interngs.errors import InputError


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_survives_json(preset: str) -> None:
    config = preset_config(preset)
    assert PipelineConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_missing_settings_take_the_presets_value() -> None:
    config = PipelineConfig.from_dict({"preset": "draft", "optimise": {"dropout": 0}})
    assert config.optimise.dropout == 0.0
    assert config.optimise.steps == preset_config("draft").optimise.steps


def test_tuples_survive_json() -> None:
    config = PipelineConfig.from_dict({"clean": {"sphere": [0.0, 1, 2.0, 3.0], "max_needle": None}})
    assert config.clean.sphere == (0.0, 1, 2.0, 3.0)
    assert PipelineConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(("values", "named"), [
    ({"preset": "best"}, "best"),
    ({"speed": 3}, "speed"),
    ({"optimise": {"steps": "many"}}, "optimise.steps"),
    ({"optimise": {"steps": True}}, "optimise.steps"),
    ({"optimise": {"steps": 0}}, "optimise.steps"),
    ({"optimise": 3}, "optimise"),
    ({"device": "tpu"}, "device"),
    ({"clean": {"sphere": [1.0, 2.0]}}, "clean.sphere"),
    ({"optimise": {"dropout": 1.5}}, "dropout"),
    ({"max_side_px": 4}, "max_side_px"),
])
def test_bad_settings_are_named(values: dict, named: str) -> None:
    with pytest.raises(InputError) as caught:
        PipelineConfig.from_dict(values)
    assert named in caught.value.cause
    assert caught.value.remedy
