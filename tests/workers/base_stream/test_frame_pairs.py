from __future__ import annotations

import pytest

from tests.clips import H264, ClipMaker
from tests.workers.sources import probe, settings_of
from workers.base_stream.frame_pairs import VideoFiles, frame_layout
from workers.errors import FrameMismatchError
from workers.ffmpeg.program import FFmpeg


@pytest.mark.parametrize(
    ("base_frames", "told"),
    [(11, "The base stream decodes to 11 frames"), (13, "The source decodes to 12 frames")],
)
def test_a_base_stream_with_another_number_of_frames_is_an_error(clips: ClipMaker, base_frames: int, told: str) -> None:
    info = probe(clips.plain)
    video = VideoFiles(
        source=clips.plain,
        base_stream=clips.make(f"base_{base_frames}.mp4", *H264, "-an", frames=base_frames),
        info=info,
        layout=frame_layout(info, settings_of(scale=1)),
        ffmpeg=FFmpeg(),
    )
    pairs = video.frame_pairs()
    with pytest.raises(FrameMismatchError, match=told):
        assert [pair.number for pair in pairs] == list(range(12))
