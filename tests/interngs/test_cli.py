# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line as people use it: results, exit codes, and one message for each kind of bad input."""

import errno
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import interngs.storage
from interngs.cli import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, VERBS, main
from interngs.commands import progress
from interngs.formats.ply import read_ply

FAST = ["--device", "cpu", "--steps", "6", "--pseudo-views", "2", "--initial-opacity", "0.5"]
Write = Callable[..., Path]


def reconstruct(capture: Path, output: Path, *more: str) -> int:
    return main(["reconstruct", str(capture), "-o", str(output), *FAST, *more])


def test_reconstruct_render_clean_and_info(wall_folder: Write, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder, out = wall_folder(), tmp_path / "out"
    assert reconstruct(folder, out) == EXIT_OK
    splat = read_ply(out / "result.ply")
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["geometry"]["method"] == "given-depth"
    assert len(splat.gaussians) == report["gaussians"]
    assert any("axes" in comment for comment in splat.comments)

    assert main(["render", str(out / "result.ply"), "--capture", str(folder), "-o", str(tmp_path / "pictures"),
                 "--views", "1", "--depth", "--device", "cpu"]) == EXIT_OK
    (picture,) = (tmp_path / "pictures").glob("*.png")
    assert Image.open(picture).size == (48, 36)
    (depth,) = (tmp_path / "pictures").glob("*.tiff")
    assert 3 < np.median(np.asarray(Image.open(depth))) < 5

    cleaned = tmp_path / "clean.ply"
    assert main(["clean", str(out / "result.ply"), "-o", str(cleaned), "--min-opacity", "0.55"]) == EXIT_OK
    assert len(read_ply(cleaned).gaussians) < len(splat.gaussians)

    capsys.readouterr()
    assert main(["info", str(out / "result.ply")]) == EXIT_OK
    assert f"{len(splat.gaussians):,}" in capsys.readouterr().out
    assert main(["info", str(folder)]) == EXIT_OK
    assert "48x36" in capsys.readouterr().out


def test_eval_writes_the_report_and_the_comparison(wall_folder: Write, tmp_path: Path) -> None:
    folder, out = wall_folder(), tmp_path / "out"
    (folder / "split.json").write_text(json.dumps({"splits": {"2": {"train": [0, 2], "test": [1]}}}), encoding="utf-8")
    assert main(["eval", str(folder), "-o", str(out), "--views", "2", *FAST]) == EXIT_OK
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    for name in ("psnr", "psnr_colour_fit", "ssim", "seconds", "gaussians", "views", "geometry", "held_out"):
        assert name in report
    assert len(report["views"]) == 2
    assert Image.open(out / "comparison.png").width > 4 * 48
    page = (out / "report.html").read_text()
    assert "data:image/jpeg;base64," in page and "Held-out views" in page and "Views nobody took" in page
    assert Image.open(out / "pseudo_views.png").width > 400


def complaint(capsys: pytest.CaptureFixture) -> str:
    """What was written to the error stream: a message for people, no traceback."""
    text = capsys.readouterr().err
    assert "Traceback" not in text
    assert "interngs: " in text
    return text


def edit_frame(**values: object) -> Callable[[dict], None]:
    return lambda content: content["frames"][1].update(values)


NOT_RIGID = np.diag([2.0, 2.0, 2.0, 1.0]).tolist()
NOT_FINITE = [[float("nan")] * 4] * 4


@pytest.mark.parametrize(("change", "says"), [
    (edit_frame(file_path="gone.png"), "gone.png"),
    (edit_frame(transform_matrix=NOT_RIGID), "wall_0.3.png"),
    (edit_frame(transform_matrix=NOT_FINITE), "wall_0.3.png"),
    (lambda content: content.update(fl_x=0, fl_y=0), "ocal"),
    (lambda content: content.pop("frames"), "frames"),
])
def test_bad_captures_are_refused_by_name(wall_folder: Write, tmp_path: Path, capsys: pytest.CaptureFixture,
                                          change: Callable[[dict], None], says: str) -> None:
    assert reconstruct(wall_folder(change), tmp_path / "out") == EXIT_BAD_INPUT
    assert says in complaint(capsys)
    assert not (tmp_path / "out" / "result.ply").exists()


def test_an_unreadable_photograph_is_named(wall_folder: Write, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = wall_folder()
    (folder / "wall_0.3.png").write_bytes(b"no picture")
    assert reconstruct(folder, tmp_path / "out") == EXIT_BAD_INPUT
    assert "wall_0.3.png" in complaint(capsys)


def test_cameras_that_share_nothing_are_refused(wall_folder: Write, tmp_path: Path,
                                                capsys: pytest.CaptureFixture) -> None:
    def turn_away(content: dict) -> None:
        turned = np.diag([-1.0, -1, 1, 1])  # looks back, away from the wall
        turned[:3, 3] = (0, 0, -10)
        content["frames"] = content["frames"][:2]
        content["frames"][1]["transform_matrix"] = turned.tolist()
        for frame in content["frames"]:
            del frame["depth_file_path"]

    assert reconstruct(wall_folder(turn_away), tmp_path / "out") == EXIT_BAD_INPUT
    assert complaint(capsys)


def test_a_lying_ply_header_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "lie.ply"
    path.write_bytes(b"ply\nformat binary_little_endian 1.0\nelement vertex 4000000000\nproperty float x\nend_header\n")
    assert main(["info", str(path)]) == EXIT_BAD_INPUT
    assert "lie.ply" in complaint(capsys)


@pytest.mark.parametrize("arguments", [
    ["reconstruct", "nowhere", "-o", "out"], ["info", "nowhere"], ["reconstruct", "x", "-o", "y", "--preset", "best"],
    ["fly"],
])
def test_wrong_arguments_are_bad_input(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(arguments) == EXIT_BAD_INPUT
    assert complaint(capsys)


def test_a_view_that_is_not_there_is_bad_input(wall_folder: Write, tmp_path: Path,
                                               capsys: pytest.CaptureFixture) -> None:
    assert reconstruct(wall_folder(), tmp_path / "out", "--views", "0", "7") == EXIT_BAD_INPUT
    assert "7" in complaint(capsys)


def test_a_full_disk_leaves_nothing_half_written(wall_folder: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                 capsys: pytest.CaptureFixture) -> None:
    folder, out = wall_folder(), tmp_path / "out"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(interngs.storage.os, "fsync", full)
    assert reconstruct(folder, out) == EXIT_FAILED
    assert "disk" in complaint(capsys).lower()
    assert not (out / "result.ply").exists()
    assert not list(out.rglob("*.partial"))


def test_ctrl_c_keeps_a_checkpoint_and_prints_the_way_on(wall_folder: Write, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch,
                                                         capsys: pytest.CaptureFixture) -> None:
    folder, out = wall_folder(), tmp_path / "out"
    asked = iter([False] * 12 + [True] * 100_000)
    with monkeypatch.context() as patch:
        patch.setattr(progress.Interrupt, "asked", lambda self: next(asked))
        assert reconstruct(folder, out, "--steps", "20") == EXIT_INTERRUPTED
    printed = capsys.readouterr().err
    assert "--resume" in printed
    assert list((out / "work" / "checkpoints").iterdir())
    assert reconstruct(folder, out, "--steps", "20", "--resume") == EXIT_OK
    assert json.loads((out / "report.json").read_text(encoding="utf-8"))["complete"]


def test_help_names_every_verb(capsys: pytest.CaptureFixture) -> None:
    assert main(["--help"]) == EXIT_OK
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS)
