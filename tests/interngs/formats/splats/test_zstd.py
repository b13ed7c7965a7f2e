# SPDX-License-Identifier: GPL-3.0-or-later
"""Our own Zstandard decoder on frames of the reference encoder, and the frames written without a library."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from interngs.formats import zstd
from interngs.formats.zstd_decoder import ZstdError, decode_frames

# Made with the reference encoder. Level 19 with a checksum: one stream of literals, Huffman weights and sequences
# coded by FSE tables, repeated offsets.
TEXT = b"".join(b"splat %d of %d at %d;" % (i, i * i % 97, (i * 7919) % 1000) for i in range(60))
TEXT_FRAME = base64.b64decode(
    "KLUv/WQNBE0JAGaWLxSgJYUcwfkUe6q62u3cJCuSwqsmDi8AJwAnAAuJmfCT2ATFFEYMkkyfleGTMSGhmu60q8VWSGV4PjYaaSAIAgACBEFQYCDAAAIB"
    "rmeUn3qoxDzGlWHU1YRQEbzm2cxYhXMKkyPILEqec0ciyOxexNoPZnBCVPPTayMeFSyPEIrbs41/ShIvXUuuY/OQceNDRDePX0EqC1QDA23+LNA+z4eE"
    "Y3SjVz07JAiHv/Qbf0ShUwkVZxLlHFUkZCNu2TeAsagQaMt7B8AbDhCoQcZjUM+umzcvCcTKWlVpdBhzrp6tN2teMoiVtWpq5gqsILL06IYBDy1di0Vg"
    "sc5tNZG2W2DRpOnOGGThxEWgtqeEXH0JFZkdXWhHHepI54g61NXB32q3kl4hU36As3A=")
# Level 3 without a content size: four streams of literals.
RAMP = bytes((i * i // 7 + i // 3) % 61 + 40 * (i % 3 == 0) for i in range(700))
RAMP_FRAME = base64.b64decode(
    "KLUv/QAA3RIAFquTGiDM8wEsr4ryzW8CGWM/43fLrLQRJXKLkMgyiwCMAI0AIa/huOHZfxigtROPa4xB9niIqhk8jAC1+95uoJfjaS/1xRaHMkTcGZOL"
    "OBCDTgNj9hJuzsg/+iXt1E+IzLwBXeMvIVibJmvrBzMTLYB8FX5Sn536PqpHXiBJuNCPtiFpmw01fm+CtTkT8vTXWn7uI2RMvLHLYI1pAuEkctnsslJ0"
    "JBH/59EK7t22NgRbqeBYayTnbxSonIyJst12rMUaq5yKW2e2a4Gy7ikfMIv+0eF3jV2b7yYySx0LaON1Ml6VbuECzjTjK6M23vLe3ZvfQ4zRFZ8WKs53"
    "rCLD+J5ZqMRW6DGYRZXj77ja7VGIXYJVRVnQAdPkS5N0VkyXdMW2B3OnQU/QnyhCV4P6fj2RlIFlm2O/uDJEkJfYCf2zli76sA7lKQ2PNEznomwFkVsF"
    "2uBfRQRalAUMA6nBFTt/S+HuSsf5vyeRQYszo5CbyZrS+ME4x2C1iCLfvOUMddxiMylLhScpIIlkHyWgCcmfKErV9DAdu/fYg4BOtZ+/20V49U08SGzn"
    "faAGdydibZoS0OCdB7u4sh0mmkGSFby8GKg91AcScp3iu3x67C6MGHsCeHCDsefNfQS1vBc5rE150QHnnoRNxkSOt6MRbzrt41moaZcsJ8jzi+bE7Pth"
    "T8xeqFMqKRaG3Yj6QTmx8yzxgS5tbPtCquzQTVTz/jldmlf2t2MA3nHVU58yPHHbsW0l7kvKtMX+7DaqQdZ2yiIwZ0WYcFI21rj8QAjjHwcCAGXrhmgQ"
    "m5kp")
SKIPPABLE = b"\x53\x2a\x4d\x18\x03\0\0\0abc"


@pytest.mark.parametrize(("frame", "content"), [
    (TEXT_FRAME, TEXT), (RAMP_FRAME, RAMP), (TEXT_FRAME + SKIPPABLE + RAMP_FRAME, TEXT + RAMP), (b"", b"")])
def test_frames_of_the_reference_encoder(frame: bytes, content: bytes) -> None:
    assert decode_frames(frame, len(content)) == content


@pytest.mark.parametrize("content", [b"", b"a", bytes(300_000), np.random.default_rng(0).bytes(200_000)])
def test_what_is_written_can_be_read(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zstd, "library", lambda: None)
    frame = zstd.compress(content)
    assert decode_frames(frame, len(content)) == content == zstd.decompress(frame, len(content))
    assert len(frame) < len(content) + 100 and (content != bytes(300_000) or len(frame) < 50)


def test_a_library_agrees_where_there_is_one() -> None:
    module = zstd.library()
    if module is None:
        pytest.skip("independent reader: no Zstandard module in this Python")
    packed = zstd.compress(TEXT)
    assert decode_frames(packed, len(TEXT)) == TEXT == zstd.decompress(TEXT_FRAME, len(TEXT))
    with pytest.raises(ZstdError):
        zstd.decompress(packed, len(TEXT) - 1)


@pytest.mark.parametrize("frame", [TEXT_FRAME, RAMP_FRAME])
def test_limits_and_damage(frame: bytes) -> None:
    with pytest.raises(ZstdError):
        decode_frames(frame, 600)
    rng = np.random.default_rng(0)
    for index in range(400):
        damaged = bytearray(frame)
        for _ in range(index % 4):
            damaged[rng.integers(len(frame))] = rng.integers(256)
        if index % 4 == 0:
            damaged = damaged[:rng.integers(len(frame))]
        try:
            assert len(decode_frames(bytes(damaged), 1300)) <= 1300
        except ZstdError:
            continue


def test_a_bomb_of_run_lengths_stops_at_the_limit() -> None:
    bomb = b"\x28\xb5\x2f\xfd\x00\x58" + (2 | (1 << 17) << 3).to_bytes(3, "little") * 1 + b"\0"
    bomb = bomb[:6] + bomb[6:] * 1000
    with pytest.raises(ZstdError):
        decode_frames(bomb, 1 << 20)
