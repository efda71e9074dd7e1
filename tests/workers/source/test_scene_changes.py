from __future__ import annotations

import numpy as np
import pytest

from tests.clips import H264, LOSSLESS, ClipMaker
from tests.workers.sources import probe
from workers.source.scene_changes import find_changes

CUTS = "geq=lum='128+100*sin(X/9+Y/7*({phase}))':cb=128:cr=128"
"""Waves whose direction depends on the frame's number."""


def changes_of(clips: ClipMaker, name: str, phase: str, *encoding: str, filters: str = "null") -> list[int]:
    picture = CUTS.format(phase=phase)
    clip = clips.make(
        f"{name}.mkv",
        *(encoding or LOSSLESS),
        picture="color=gray",
        frames=60,
        filters=f"format=yuv420p,{picture},{filters}",
    )
    return probe(clip).scene_changes.tolist()


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "gbrp", "yuyv422"])
def test_hard_cuts_are_found_in_any_pixel_format(clips: ClipMaker, pixel_format: str) -> None:
    encoding = ("-c:v", "rawvideo") if pixel_format == "yuyv422" else LOSSLESS
    found = changes_of(
        clips, f"cuts_{pixel_format}", "gte(N,20)*3-gte(N,41)*5", *encoding, filters=f"format={pixel_format}"
    )
    assert found == [20, 41]


def test_hard_cuts_are_found_in_rows_from_bottom_to_top(clips: ClipMaker) -> None:
    """As uncompressed RGB lies in AVI files of Windows."""
    clip = clips.make(
        "bottom_up.avi",
        *("-c:v", "rawvideo", "-pix_fmt", "bgr24", "-flipped_raw_rgb", "1"),
        picture="color=gray",
        frames=60,
        filters=f"format=yuv420p,{CUTS.format(phase='gte(N,20)*3-gte(N,41)*5')}",
    )
    assert probe(clip).scene_changes.tolist() == [20, 41]


def test_hard_cuts_are_found_after_compression(clips: ClipMaker) -> None:
    assert changes_of(clips, "compressed", "gte(N,20)*3-gte(N,41)*5", *H264) == [20, 41]


def test_a_flash_is_no_cut(clips: ClipMaker) -> None:
    flash = "geq=lum='if(eq(N,30),250,lum(X,Y))':cb=128:cr=128"
    assert changes_of(clips, "flash", "1", filters=flash) == []


def test_a_fade_is_no_cut(clips: ClipMaker) -> None:
    assert changes_of(clips, "fade", "1", filters="fade=out:10:20,fade=in:35:20") == []


def test_quick_motion_is_no_cut(clips: ClipMaker) -> None:
    """Every frame differs from the one before as much as across a cut."""
    assert changes_of(clips, "motion", "N") == []


def test_a_still_picture_has_no_cut(clips: ClipMaker) -> None:
    assert changes_of(clips, "still", "1") == []


def test_the_same_file_gives_the_same_changes(clips: ClipMaker) -> None:
    clip = clips.make("again.mp4", *H264, picture="mandelbrot", frames=30)
    assert np.array_equal(probe(clip).scene_changes, probe(clip).scene_changes)


def test_a_cut_must_stand_out_from_its_neighbours() -> None:
    usual = np.full(40, 5, np.float32)
    for height, found in ((14, []), (16, [20])):
        to_previous = usual.copy()
        to_previous[20] = height
        assert find_changes(to_previous, np.full(40, 20, np.float32)).tolist() == found
