from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from core.presets import resolve_settings
from demo.source_frames import is_read_independently, source_frames
from stdo.bundle.bundle import open_bundle
from stdo.bundle.manifest import Manifest
from tests.clips import ClipMaker
from tests.stdo.bundles import write_small_bundle
from workers.ffmpeg.program import FFmpeg
from workers.source.frames import read_source_frames
from workers.source.probe import SourceInfo, probe_source
from workers.source.source_counts import SourceLimits


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> ClipMaker:
    return ClipMaker(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    with open_bundle(write_small_bundle(tmp_path_factory.mktemp("bundle"))) as bundle:
        return bundle.manifest


def test_pyav_reads_what_the_encoder_reads(clips: ClipMaker, template: Manifest) -> None:
    odd = clips.make("odd.mkv", "-c:v", "ffv1", size="97x61", frames=5)
    ten_bits = clips.make("ten.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p10le", frames=5)
    for video in (clips.plain, odd, ten_bits):
        info, manifest = _probed(video, template)
        assert is_read_independently(manifest), info.source.input_normalisations
        expected = list(read_source_frames(video, info, manifest.picture, program=FFmpeg()))
        frames = list(source_frames(video, manifest))
        assert len(frames) == len(expected) == info.source.frame_count
        for frame, canvas in zip(frames, expected, strict=True):
            shown = canvas.cropped(width=manifest.picture.display_width, height=manifest.picture.display_height)
            for name in ("y", "u", "v"):
                np.testing.assert_array_equal(getattr(frame, name), getattr(shown, name))
        assert all((one.y != next_one.y).any() for one, next_one in pairwise(frames))


def test_a_turned_picture_is_read_as_the_encoder_turned_it(clips: ClipMaker, template: Manifest) -> None:
    turned = clips.remake("turned.mp4", clips.plain, before=("-display_rotation", "90"))
    _, manifest = _probed(turned, template)
    assert not is_read_independently(manifest)
    frames = list(source_frames(turned, manifest))
    assert [frame.y.shape for frame in frames] == [(96, 80)] * 12


def _probed(video: Path, template: Manifest) -> tuple[SourceInfo, Manifest]:
    info = probe_source(video, limits=SourceLimits(), report=lambda *_: None, program=FFmpeg())
    picture = info.picture(resolve_settings("fast", {}))
    return info, template.model_copy(update={"source": info.source_of(picture), "picture": picture})
