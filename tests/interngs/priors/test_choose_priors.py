# SPDX-License-Identifier: GPL-3.0-or-later
"""Which priors a run gets, and models of the user's own: added, listed, verified, used by name."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from interngs.errors import InternGSError
from interngs.priors import choose as choose_module
from interngs.priors import weights_command
from interngs.priors.catalogue import CONTROL_MODEL, DEPTH_MODEL, DIFFUSION_MODEL, model_called
from interngs.priors.choose import choose_appearance_prior, choose_depth_prior
from interngs.priors.locations import find_model, own_folder
from interngs.priors.own_models import describe, own_models
from interngs.priors.running import fingerprint
from interngs.priors.weights import add, add_own, list_models, verify

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def own_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees or touches this machine's own weights."""
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    for name in ("INTERNGS_WEIGHTS", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


def refused(code: str, call, *arguments) -> InternGSError:
    with pytest.raises(InternGSError) as caught:
        call(*arguments)
    assert caught.value.code == code, caught.value
    return caught.value


def test_depth_by_itself_only_when_it_is_there(depth_folder: Path, monkeypatch) -> None:
    assert choose_depth_prior("none", CPU) == (None, "it is switched off")
    prior, reason = choose_depth_prior("auto", CPU)
    assert prior is None and "not on this machine" in reason
    refused("weights-missing", choose_depth_prior, DEPTH_MODEL, CPU)
    add(depth_folder, DEPTH_MODEL)
    prior, reason = choose_depth_prior("auto", CPU)
    assert prior is not None and prior.identity.title == "Depth Anything V2 Small"
    assert "Apache-2.0" in prior.identity.terms and "your data folder" in reason
    assert prior.identity.fingerprint == fingerprint(depth_folder), "files with and without a note of their hashes"
    picture = np.random.default_rng(0).uniform(size=(28, 42, 3)).astype(np.float32)
    assert prior.inverse_depth([picture])[0].shape == (28, 42)
    assert choose_depth_prior(DEPTH_MODEL, CPU)[1] == "asked for"
    monkeypatch.setattr(choose_module.importlib.util, "find_spec", lambda name: None)
    prior, reason = choose_depth_prior("auto", CPU)
    assert prior is None and "transformers is not installed" in reason and "interngs[priors]" in reason


def test_appearance_only_when_asked_for(diffusion_folder: Path, make_model, tmp_path: Path) -> None:
    assert choose_appearance_prior("none", CPU) == (None, "it was not asked for")
    refused("weights-missing", choose_appearance_prior, "img2img", CPU)
    given = tmp_path / "given"
    shutil.copytree(diffusion_folder, given)
    tokenizer = given / "tokenizer" / "tokenizer.json"
    tokenizer.rename(given / "elsewhere")
    absent = refused("weights-missing", add, given, DIFFUSION_MODEL)
    assert "tokenizer/merges.txt or tokenizer/tokenizer.json" in absent.cause
    (given / "elsewhere").rename(tokenizer)
    add(given, DIFFUSION_MODEL)
    verify(DIFFUSION_MODEL)
    prior, reason = choose_appearance_prior("img2img", CPU)
    assert reason == "asked for" and prior is not None and prior.control_folder is None
    missing = refused("weights-missing", choose_appearance_prior, "controlnet-tile", CPU)
    assert CONTROL_MODEL in missing.remedy
    # The ControlNet's authors publish a pickle of tensors only; either kind of file will do.
    for safe in (False, True):
        add(make_model["control"](tmp_path / f"control-{safe}", safe=safe), CONTROL_MODEL)
        verify(CONTROL_MODEL)
        names = {path.suffix for path in find_model(model_called(CONTROL_MODEL)).path.iterdir()}
        assert (".safetensors" in names) == safe and (".bin" in names) != safe
    prior, _ = choose_appearance_prior("controlnet-tile", CPU)
    assert "OpenRAIL" in prior.identity.terms and "ControlNet" in prior.identity.title
    refused("model-purpose", choose_appearance_prior, CONTROL_MODEL, CPU)
    refused("model-purpose", choose_appearance_prior, DEPTH_MODEL, CPU)
    refused("model-purpose", choose_depth_prior, DIFFUSION_MODEL, CPU)
    refused("model-unknown", choose_depth_prior, "nonsense", CPU)


def test_a_model_of_one_s_own(depth_folder: Path, diffusion_folder: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    weights_command.run(["add", str(depth_folder), "--name", "my-depth", "--purpose", "depth",
                         "--licence", "My Licence", "--commercial-use"])
    weights_command.run(["add", str(diffusion_folder), "--name", "my.repair", "--purpose", "appearance"])
    weights_command.run(["list"])
    shown = capsys.readouterr().out
    assert "my-depth" in shown and "My Licence" in shown and "my.repair" in shown and "not stated" in shown
    assert {state.model.name for state in list_models() if state.found} == {"my-depth", "my.repair"}
    verify("my-depth")
    prior, reason = choose_depth_prior("my-depth", CPU)
    assert prior.identity.terms == "My Licence; commercial use allowed" and reason == "asked for"
    prior, _ = choose_appearance_prior("my.repair", CPU)
    assert prior.identity.terms == "not stated; commercial use not allowed"
    refused("model-purpose", choose_appearance_prior, "my-depth", CPU)
    file = own_folder() / "my-depth" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    refused("weights-truncated", verify, "my-depth")
    (own_folder() / "my-depth" / "interngs-weights.json").write_text("{nonsense")
    assert [model.name for model in own_models()] == ["my.repair"]


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a" * 65, "with space", DEPTH_MODEL])
def test_names_are_no_paths(depth_folder: Path, name: str) -> None:
    refused("model-name", describe, depth_folder, name, "depth", "MIT", True)


def test_own_models_must_be_of_the_kind(depth_folder: Path, diffusion_folder: Path, tmp_path: Path) -> None:
    refused("weights-wrong", describe, diffusion_folder, "mine", "depth", "MIT", True)
    refused("weights-wrong", describe, depth_folder, "mine", "appearance", "MIT", True)
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text("{}")
    (pickled / "pytorch_model.bin").write_bytes(b"x")
    refused("weights-wrong", describe, pickled, "mine", "depth", "MIT", True)
    model = describe(depth_folder, "mine", "depth", "MIT", True)
    add_own(depth_folder, model)
    # A note that claims another name, or one that is known, is not believed.
    note = own_folder() / "mine" / "interngs-weights.json"
    values = json.loads(note.read_text())
    note.write_text(json.dumps(values | {"model": DEPTH_MODEL}))
    assert own_models() == []
    note.write_text(json.dumps(values))
    assert own_models() == [replace(model, files=tuple(values["files"]))]
