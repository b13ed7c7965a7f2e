# SPDX-License-Identifier: GPL-3.0-or-later
"""What artists read: errors, figures, states; and what is said of photographs."""

import json

import numpy as np
import pytest


@pytest.fixture(scope="module")
def wording(addon_module):
    return addon_module("blender_addon.session.wording")


def test_every_code_of_the_service_is_told_in_words(addon_module):
    messages, errors = addon_module("blender_addon.messages"), addon_module("interngs.wire.errors")
    for code in errors.CODES:
        shown = messages.explain(errors.ServiceError(code, "Cause.", "Remedy."))
        assert shown.headline and shown.cause and shown.remedy and code in shown.details
    for code in ("server-unreachable", "server-key-changed", "key-refused", "out-of-memory", "worker-lost"):
        assert code in errors.CODES and code in messages.HEADLINES


def test_a_known_error_keeps_its_cause_and_gets_blenders_remedy(addon_module):
    messages, errors = addon_module("blender_addon.messages"), addon_module("interngs.errors")
    error = errors.InputError("queue-full", "Sixteen jobs wait.", "Ask later.")
    shown = messages.explain(error, "Reconstruct", "4.5.1")
    assert (shown.headline, shown.cause) == ("Too many jobs wait", "Sixteen jobs wait.")
    assert "job list" in shown.remedy
    assert "queue-full" in shown.details and "Blender 4.5.1" in shown.details and "Traceback" not in shown.details


def test_an_unforeseen_error_has_its_trace_in_the_details_only(addon_module):
    messages = addon_module("blender_addon.messages")
    try:
        {}["x"]
    except KeyError as error:
        shown = messages.explain(error)
    assert shown.code == "unexpected" and "Traceback" in shown.details and "Traceback" not in shown.cause


@pytest.mark.parametrize("value, words", [(950, "950"), (12_345, "12.3 k"), (999_600, "1 M"), (1_250_000, "1.25 M")])
def test_counts(wording, value, words):
    assert wording.number(value) == words


@pytest.mark.parametrize("value, words", [(None, "unknown"), (40, "40 s"), (700, "12 min"), (4800, "80 min"),
                                          (7300, "2 h 2 min"), (-3, "0 s")])
def test_durations(wording, value, words):
    assert wording.duration(value) == words


def test_connection_in_words_and_colour(wording, addon_module):
    state = addon_module("interngs.link.state").LinkState
    import time

    assert wording.connection(state()) == ("Not connected", "idle")
    assert wording.connection(state("connected", round_trip_s=0.012)) == ("Connected (12 ms)", "good")
    assert wording.connection(state("slow"))[1] == "busy"
    words, mood = wording.connection(state("lost", retry_at_s=time.monotonic() + 4.0))
    assert words == "Lost: retrying in 4 s" and mood == "bad"


def test_text_fits_the_panel(wording):
    lines = wording.wrapped("The cameras of these two photographs share no view, so nothing can be matched.", 200)
    assert len(lines) > 1 and max(map(len, lines)) <= 200 / 6.4
    assert wording.wrapped("", 200) == [""]


def test_a_report_in_lines(wording):
    report = {"held_out": {"psnr": 22.514}, "geometry": {"method": "plane-sweep"}, "views": ["a", "b"],
              "seconds": {"total": 95.2}, "warnings": ["a is blurred"],
              "priors": [{"name": "dust3r", "licence": "CC BY-NC-SA 4.0"}]}
    lines = dict(wording.report_lines(json.dumps(report)))
    assert lines["Held-out PSNR"] == "22.51 dB" and lines["Geometry"] == "Plane sweep"
    assert lines["Prior"] == "dust3r, CC BY-NC-SA 4.0" and lines["Time"] == "2 min"
    assert lines["Warning"] == "a is blurred"
    assert wording.report_lines("") == () and wording.report_lines("[1]") == ()
    assert wording.report_lines("{")[0][1] == "cannot be read"


def texture(seed, blur=0, gain=1.0):
    image = np.random.default_rng(seed).random((120, 160))
    for _ in range(blur):
        image = sum((np.roll(image, step, axis) for step in (1, -1) for axis in (0, 1)), image) / 5
    return np.repeat(np.clip(image * gain, 0, 1)[..., None], 3, 2)


def test_blurred_and_badly_exposed_photographs_are_named(addon_module):
    checks = addon_module("blender_addon.session.photo_checks")
    pictures = [texture(0, 2), texture(1, 2), texture(2, 2), texture(3, 30), texture(4, 2, 0.4)]
    said = checks.remarks([checks.measure(each) for each in pictures])
    assert said[:3] == ["", "", ""]
    assert "blurred" in said[3]
    assert "darker" in said[4]


def test_too_few_photographs_are_not_compared(addon_module):
    checks = addon_module("blender_addon.session.photo_checks")
    assert checks.remarks([checks.measure(texture(0)), None, checks.measure(texture(1, 30))]) == ["", "", ""]
