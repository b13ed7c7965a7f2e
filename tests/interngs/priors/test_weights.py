# SPDX-License-Identifier: GPL-3.0-or-later
"""Model files: found, added, downloaded, verified, and refused with a reason, on a tiny model of the same layout."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from interngs.errors import InputError, InternGSError
from interngs.geometry.dust3r.configuration import NetworkConfig
from interngs.geometry.dust3r.network import Dust3rNetwork
from interngs.priors import weights_command
from interngs.priors.catalogue import CATALOGUE, GEOMETRY_MODELS, Model, model_called
from interngs.priors.locations import find_model, hub_cache_folder, own_folder
from interngs.priors.weights import add, download, list_models, model_path, verify

CONFIG = NetworkConfig((64, 64), "linear", 16, 1, 2, 16, 1, 2)
TINY = replace(CATALOGUE[0], name="tiny", title="Tiny", hub_repository="someone/Tiny", single_file="Tiny.pth",
               network=CONFIG, licence="A licence")
OTHER = Model("other", "Other", "depth", "someone/Other", ("config.json", "model.safetensors"), 10, "MIT",
              "https://example.org", True)
MODELS = (TINY, OTHER)
DESCRIPTION = {"img_size": [64, 64], "head_type": "linear", "enc_embed_dim": 16, "enc_depth": 1, "enc_num_heads": 2,
               "dec_embed_dim": 16, "dec_depth": 1, "dec_num_heads": 2}


@pytest.fixture(autouse=True)
def own_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees or touches this machine's own weights."""
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    for name in ("INTERNGS_WEIGHTS", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The hub layout."""
    torch.manual_seed(0)
    path = tmp_path / "given"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(DESCRIPTION))
    save_file(Dust3rNetwork(CONFIG).state_dict(), path / "model.safetensors")
    return path


@pytest.fixture
def pth(tmp_path: Path) -> Path:
    """The authors' own layout."""
    text = ("AsymmetricCroCo3DStereo(img_size=(64, 64), head_type='linear', enc_embed_dim=16, enc_depth=1, "
            "enc_num_heads=2, dec_embed_dim=16, dec_depth=1, dec_num_heads=2)")
    path = tmp_path / "some name.pth"
    torch.save({"model": Dust3rNetwork(CONFIG).state_dict(), "args": argparse.Namespace(model=text)}, path)
    return path


def refused(code: str, call, *arguments) -> InternGSError:
    with pytest.raises(InternGSError) as caught:
        call(*arguments)
    assert caught.value.code == code
    return caught.value


def test_catalogue_says_what_each_model_may_be_used_for() -> None:
    assert GEOMETRY_MODELS[0] == "dust3r-512-dpt"
    for model in CATALOGUE:
        assert model.licence and model.licence_url.startswith("https://") and model.size_bytes > 1e6
    assert not model_called("dust3r-512-dpt").commercial_use
    refused("model-unknown", model_called, "dust3r-9000")


def test_added_folder_is_found_and_verified(folder: Path) -> None:
    assert [state.found for state in list_models(MODELS)] == [None, None]
    error = refused("weights-missing", model_path, "tiny", MODELS)
    assert "A licence" in error.cause and "Tiny.pth" in error.cause and "weights download tiny" in error.remedy
    found = add(folder, None, MODELS)
    assert found.path == own_folder() / "tiny" == model_path("tiny", MODELS)
    assert verify("tiny", MODELS).path == found.path
    assert not [path for path in own_folder().iterdir() if path.name.startswith(".")]


def test_added_file_gets_its_official_name(pth: Path) -> None:
    add(pth, None, MODELS)
    assert verify("tiny", MODELS).path == own_folder() / "tiny" / "Tiny.pth"


def test_adding_again_replaces(folder: Path, pth: Path) -> None:
    add(folder, None, MODELS)
    add(pth, "tiny", MODELS)
    assert not (own_folder() / "tiny" / "model.safetensors").exists()
    assert verify("tiny", MODELS).path.name == "Tiny.pth"


def test_offline_folder_comes_first_and_needs_no_adding(monkeypatch, tmp_path: Path, folder: Path, pth: Path) -> None:
    add(folder, None, MODELS)
    offline = tmp_path / "offline"
    offline.mkdir()
    monkeypatch.setenv("INTERNGS_WEIGHTS", str(offline))
    assert find_model(TINY).location.words == "your data folder"
    shutil.copy(pth, offline / "Tiny.pth")
    assert find_model(TINY).path == offline / "Tiny.pth"
    shutil.copytree(folder, offline / "Tiny")
    shutil.rmtree(offline / "Tiny")
    (offline / "Tiny.pth").unlink()
    shutil.copytree(folder, offline / "Tiny")
    assert find_model(TINY).path == offline / "Tiny"


def hub_cache(folder: Path) -> Path:
    """The same files as the hub's own library stores them."""
    from interngs.priors.weights import sha256_of
    repository = hub_cache_folder() / "models--someone--Tiny"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "older").mkdir()
    shutil.copy(folder / "config.json", snapshot / "config.json")
    blob = repository / "blobs" / sha256_of(folder / "model.safetensors")
    shutil.copy(folder / "model.safetensors", blob)
    (snapshot / "model.safetensors").symlink_to(blob)
    return blob


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links: only on POSIX")
def test_hub_cache_is_used_and_its_hashes_hold(folder: Path) -> None:
    blob = hub_cache(folder)
    assert verify("tiny", MODELS).location.words == "the Hugging Face cache"
    data = bytearray(blob.read_bytes())
    data[-5] ^= 1
    blob.write_bytes(bytes(data))
    refused("weights-tampered", verify, "tiny", MODELS)


def test_truncated_tampered_and_missing_files_are_told_apart(folder: Path) -> None:
    file = add(folder, None, MODELS).path / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-10])
    refused("weights-truncated", verify, "tiny", MODELS)
    changed = bytearray(whole)
    changed[-10] ^= 1
    file.write_bytes(bytes(changed))
    refused("weights-tampered", verify, "tiny", MODELS)
    file.write_bytes(whole)
    verify("tiny", MODELS)
    (file.parent / "interngs-weights.json").write_text("{}")
    refused("weights-tampered", verify, "tiny", MODELS)
    file.unlink()
    refused("weights-missing", verify, "tiny", MODELS)


def test_wrong_files_are_refused_and_leave_nothing(folder: Path, pth: Path, tmp_path: Path) -> None:
    good = add(folder, None, MODELS).path
    refused("no-such-path", add, tmp_path / "nothing", None, MODELS)
    (tmp_path / "text.pth").write_text("hello")
    refused("weights-unreadable", add, tmp_path / "text.pth", None, MODELS)
    (tmp_path / "cut.pth").write_bytes(pth.read_bytes()[:-3000])
    refused("weights-unreadable", add, tmp_path / "cut.pth", None, MODELS)
    (tmp_path / "empty").mkdir()
    refused("weights-missing", add, tmp_path / "empty", None, MODELS)
    larger = replace(TINY, network=replace(CONFIG, encoder_depth=2))
    refused("weights-wrong", add, folder, None, (larger,))
    refused("weights-wrong", add, folder, "tiny", (larger,))
    assert [path.name for path in own_folder().iterdir()] == ["tiny"]
    assert verify("tiny", MODELS).path == good


def test_models_of_other_kinds_are_checked_too(tmp_path: Path) -> None:
    given = tmp_path / "other"
    given.mkdir()
    (given / "config.json").write_text("{}")
    refused("weights-missing", add, given, "other", MODELS)
    save_file({"a": torch.zeros(4)}, given / "model.safetensors")
    add(given, "other", MODELS)
    verify("other", MODELS)
    (given / "model.safetensors").write_bytes(b"\0" * 20)
    refused("weights-unreadable", add, given, "other", MODELS)


def test_an_interrupted_copy_keeps_the_old_model(folder: Path, monkeypatch) -> None:
    add(folder, None, MODELS)
    import interngs.priors.weights as module

    def full(*_):
        raise InternGSError("disk-full", "The disk is full.", "Make room.")

    monkeypatch.setattr(module, "atomic_write", full)
    refused("disk-full", add, folder, None, MODELS)
    monkeypatch.undo()


@pytest.fixture
def hub(monkeypatch, folder: Path) -> list[dict]:
    """A stand-in for the hub's library that copies from a folder and records what it was asked."""
    calls: list[dict] = []

    def snapshot_download(**asked) -> str:
        calls.append(asked)
        for name in asked["allow_patterns"]:
            shutil.copy(folder / name, Path(asked["local_dir"]) / name)
        return asked["local_dir"]

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download))
    return calls


def test_download_asks_for_the_licence_once(hub: list[dict]) -> None:
    asked = []

    def accept(model: Model) -> bool:
        asked.append(model.name)
        return True

    assert download("tiny", accept, MODELS).path == own_folder() / "tiny"
    assert hub[0]["repo_id"] == "someone/Tiny" and hub[0]["allow_patterns"] == ["config.json", "model.safetensors"]
    verify("tiny", MODELS)
    download("tiny", accept, MODELS)
    assert asked == ["tiny"] and len(hub) == 2
    assert [path.name for path in own_folder().iterdir() if path.is_dir()] == ["tiny"]


def test_refused_licence_downloads_nothing(hub: list[dict]) -> None:
    refused("licence-refused", download, "tiny", lambda model: False, MODELS)
    assert not hub and not list_models(MODELS)[0].found


def test_broken_download_goes_on_where_it_stopped(hub: list[dict], monkeypatch, folder: Path) -> None:
    module = sys.modules["huggingface_hub"]
    whole = module.snapshot_download

    def breaks(**asked):
        (Path(asked["local_dir"]) / "part").write_text("half")
        raise OSError("connection reset")

    monkeypatch.setattr(module, "snapshot_download", breaks)
    refused("download-failed", download, "tiny", lambda model: True, MODELS)
    assert list_models(MODELS)[0].found is None
    assert (own_folder() / ".tiny.download" / "part").exists()
    monkeypatch.setattr(module, "snapshot_download", whole)
    download("tiny", lambda model: True, MODELS)
    assert not (own_folder() / ".tiny.download").exists()


def test_a_download_of_the_wrong_thing_is_not_installed(hub: list[dict], folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({**DESCRIPTION, "enc_depth": 7}))
    refused("weights-wrong", download, "tiny", lambda model: True, MODELS)
    assert list_models(MODELS)[0].found is None


def test_offline_and_missing_downloader(monkeypatch, hub: list[dict]) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    error = refused("offline", download, "tiny", lambda model: True, MODELS)
    assert "someone/Tiny" in error.remedy and not hub
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    error = refused("downloader-missing", download, "tiny", lambda model: True, MODELS)
    assert "pip install huggingface_hub" in error.remedy


def test_command_lists_paths_and_refuses(capsys, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    weights_command.run(["list"])
    shown = capsys.readouterr().out
    assert "dust3r-512-dpt" in shown and "CC BY-NC-SA" in shown and "Apache-2.0" in shown and "no" in shown
    (tmp_path / "offline").mkdir()
    monkeypatch.setenv("INTERNGS_WEIGHTS", str(tmp_path / "offline"))
    (tmp_path / "offline" / "DUSt3R_ViTLarge_BaseDecoder_512_dpt.pth").write_bytes(b"x")
    weights_command.run(["path", "dust3r-512-dpt"])
    assert capsys.readouterr().out.strip() == str(tmp_path / "offline" / "DUSt3R_ViTLarge_BaseDecoder_512_dpt.pth")
    with pytest.raises(InputError):
        weights_command.run(["verify", "dust3r-512-dpt"])
    with pytest.raises(InputError):
        weights_command.run(["add", str(tmp_path / "nothing")])
    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace())
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(isatty=lambda: False))
    with pytest.raises(InputError) as caught:
        weights_command.run(["download", "dust3r-224-linear"])
    assert caught.value.code == "licence-refused"
    with pytest.raises(SystemExit):
        weights_command.run(["frobnicate"])
