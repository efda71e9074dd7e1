from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import psutil
import pytest
from PIL import Image

from stdo.bundle.geometry import base_size
from stdo.decoder.frames import YuvFrame, yuv_to_rgb
from tests.clips import H264, LOSSLESS, ClipMaker
from tests.workers.sources import Samples, canvas_frames, decoded_planes, mean_squared_error, probe, settings_of
from workers.errors import FFmpegFailedError, FrameMismatchError
from workers.ffmpeg.program import FFmpeg
from workers.source.frames import read_source_frames

EXACT_H264 = ("-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuv420p")


def test_a_plain_source_arrives_untouched(clips: ClipMaker) -> None:
    frames = canvas_frames(clips.plain)
    _assert_equal(frames, decoded_planes(clips.plain))


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", ["97x81", "98x83", "85x90", "96x80"])
def test_the_canvas_repeats_the_right_column_and_the_bottom_row(clips: ClipMaker, size: str, scale: int) -> None:
    source = clips.make(f"{size}.mkv", *LOSSLESS, "-pix_fmt", "yuv420p", size=size, picture="mandelbrot", frames=3)
    width, height = map(int, size.split("x"))
    canvas = scale * base_size(width, scale), scale * base_size(height, scale)
    expected = [
        (
            _extended(y, *canvas),
            _extended(u, canvas[0] // 2, canvas[1] // 2),
            _extended(v, canvas[0] // 2, canvas[1] // 2),
        )
        for y, u, v in decoded_planes(source)
    ]
    _assert_equal(canvas_frames(source, scale=scale), expected)


TURNS = {
    "upright": ((), lambda plane: plane),
    "turned by 90": (("-display_rotation:v:0", "270"), lambda plane: np.rot90(plane, -1)),
    "turned by 180": (("-display_rotation:v:0", "180"), lambda plane: np.rot90(plane, 2)),
    "turned by 270": (("-display_rotation:v:0", "90"), lambda plane: np.rot90(plane, 1)),
    "mirrored": (("-display_hflip:v:0",), np.fliplr),
    "upside down": (("-display_vflip:v:0",), np.flipud),
    "mirrored and turned": (("-display_rotation:v:0", "270", "-display_hflip:v:0"), np.transpose),
}


@pytest.mark.parametrize("turn", list(TURNS))
def test_a_turned_picture_arrives_upright(clips: ClipMaker, turn: str) -> None:
    """What is compared is the picture of an unturned copy, turned by numpy."""
    before, turned = TURNS[turn]
    plain = clips.make("exact.mp4", *EXACT_H264, picture="mandelbrot")
    source = clips.remake(f"{turn.replace(' ', '_')}.mp4", plain, before=before)
    if turn == "mirrored and turned":
        # Either order of the two is a mirror image along a diagonal.
        found, original = canvas_frames(source)[0].y, decoded_planes(plain)[0][0]
        assert any(np.array_equal(found, each) for each in (original.T, original[::-1, ::-1].T))
    else:
        _assert_equal(
            canvas_frames(source), [tuple(turned(plane) for plane in planes) for planes in decoded_planes(plain)]
        )


def test_ten_bits_stay_ten_bits(clips: ClipMaker) -> None:
    source = clips.make("ten.mkv", *LOSSLESS, "-pix_fmt", "yuv420p10le", picture="mandelbrot", frames=3)
    frames = canvas_frames(source)
    assert {(frame.bit_depth, frame.y.dtype.name) for frame in frames} == {(10, "uint16")}
    _assert_equal(frames, decoded_planes(source))


def test_twelve_bits_are_rounded_to_ten(clips: ClipMaker) -> None:
    source = clips.make("twelve.mkv", *LOSSLESS, "-pix_fmt", "yuv420p12le", picture="mandelbrot", frames=3)
    expected = [tuple(np.minimum((plane + 2) >> 2, 1023) for plane in planes) for planes in decoded_planes(source)]
    _assert_equal(canvas_frames(source), expected)


def test_an_odd_picture_of_ten_bits_is_extended_with_ten_bits(clips: ClipMaker) -> None:
    source = clips.make("97x81_ten.mkv", *LOSSLESS, "-pix_fmt", "yuv420p10le", size="97x81", picture="mandelbrot")
    frame, (y, u, v) = canvas_frames(source)[0], decoded_planes(source)[0]
    _assert_equal([frame], [(_extended(y, 100, 84), _extended(u, 50, 42), _extended(v, 50, 42))])


def test_chroma_of_4_2_2_is_averaged_over_rows(clips: ClipMaker) -> None:
    smooth = "format=yuv444p10le,boxblur=4,format=yuv422p10le"
    source = clips.make("422.mkv", *LOSSLESS, filters=smooth, picture="mandelbrot", frames=3)
    for frame, (y, u, v) in zip(canvas_frames(source), decoded_planes(source), strict=True):
        assert np.array_equal(frame.y, y)
        for found, plane in ((frame.u, u), (frame.v, v)):
            assert mean_squared_error(found, plane[0::2] / 2 + plane[1::2] / 2) < 8


def test_full_range_stays_full_range(clips: ClipMaker) -> None:
    source = clips.make("full.mp4", "-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuvj420p", picture="mandelbrot")
    assert probe(source).facts.kept.colour.range == "full"
    _assert_equal(canvas_frames(source), decoded_planes(source))


def test_grey_gets_neutral_chroma(clips: ClipMaker) -> None:
    source = clips.make("grey.mkv", *LOSSLESS, "-pix_fmt", "gray", picture="mandelbrot", frames=3)
    assert probe(source).facts.kept.colour.range == "full"
    for frame, (y,) in zip(canvas_frames(source), decoded_planes(source), strict=True):
        assert np.array_equal(frame.y, y)
        assert np.all(frame.u == 128)
        assert np.all(frame.v == 128)


def test_rgb_survives_the_way_to_yuv_and_back(clips: ClipMaker) -> None:
    """In flat colour, so that chroma subsampling takes nothing away."""
    source = clips.make("rgb.mkv", "-c:v", "libx264rgb", "-qp", "0", picture="color=0x3080d0", frames=2)
    info = probe(source)
    assert (info.facts.kept.colour.matrix, info.facts.kept.colour.range) == ("bt709", "limited")
    rgb = yuv_to_rgb(canvas_frames(source)[0], info.facts.kept.colour)
    assert np.abs(rgb.astype(int) - (0x30, 0x80, 0xD0)).max() <= 2


def test_an_old_matrix_is_converted(clips: ClipMaker) -> None:
    """SMPTE 240M (Kr 0.212, Kb 0.087) to BT.709: checked on a flat colour, by way of R'G'B'."""
    y, cb, cr = 120, 90, 170
    source = clips.make(
        "smpte240m.mkv",
        *LOSSLESS,
        frames=2,
        picture="color=black",
        filters=f"format=yuv420p,geq=lum={y}:cb={cb}:cr={cr},setparams=colorspace=smpte240m:range=tv",
    )
    info = probe(source)
    luma, blue, red = (y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
    r, b = luma + 2 * (1 - 0.212) * red, luma + 2 * (1 - 0.087) * blue
    g = (luma - 0.212 * r - 0.087 * b) / 0.701
    found = yuv_to_rgb(canvas_frames(source)[0], info.facts.kept.colour)[10, 10]
    assert info.facts.kept.colour.matrix == "bt709"
    assert np.abs(found - 255 * np.array([r, g, b])).max() <= 2.5


def test_pixels_that_are_not_square_are_stretched(clips: ClipMaker) -> None:
    source = clips.make(
        "wide.mkv", *LOSSLESS, "-pix_fmt", "yuv420p", picture="mandelbrot", filters="setsar=4/3", frames=2
    )
    info = probe(source)
    assert (info.facts.display_width, info.facts.display_height) == (128, 80)
    frame = canvas_frames(source)[0]
    stretched = Image.fromarray(decoded_planes(source)[0][0]).resize((128, 80), Image.Resampling.BICUBIC)
    assert mean_squared_error(frame.y, np.asarray(stretched)) < 10


def test_a_turned_picture_with_tall_pixels_keeps_its_proportions(clips: ClipMaker) -> None:
    tall = clips.make("tall.mp4", *EXACT_H264, filters="setsar=1/2", frames=2)
    info = probe(clips.remake("tall_turned.mp4", tall, before=("-display_rotation:v:0", "270")))
    assert (info.facts.display_width, info.facts.display_height) == (160, 96)


def test_deinterlaced_frames_look_like_the_progressive_ones(clips: ClipMaker) -> None:
    """Two frames of a 50 Hz picture become the fields of one; half of its lines are then guessed."""
    scroll = "boxblur=2,scroll=h=0.03,format=yuv420p"
    progressive = decoded_planes(
        clips.make("fifty.mkv", *LOSSLESS, filters=scroll, frames=24, rate="50", picture="mandelbrot")
    )
    encoding = ("-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuv420p", "-x264-params", "tff=1", "-flags", "+ilme")
    interlace = f"{scroll},interlace=scan=tff:lowpass=0"
    source = clips.make("interlaced.mp4", *encoding, filters=interlace, frames=12, rate="50", picture="mandelbrot")
    woven = decoded_planes(source)
    restored = canvas_frames(source)
    assert len(restored) == 12
    woven_error, restored_error = (
        np.mean([mean_squared_error(frames[n], progressive[2 * n][0]) for n in range(12)])
        for frames in ([planes[0] for planes in woven], [frame.y for frame in restored])
    )
    assert restored_error < woven_error / 3


def test_an_interlaced_single_frame_survives(clips: ClipMaker) -> None:
    encoding = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-x264-params", "tff=1", "-flags", "+ilme")
    assert (
        len(canvas_frames(clips.make("one_interlaced.mp4", *encoding, filters="interlace", rate="50", frames=1))) == 1
    )


@pytest.mark.parametrize(
    ("nits", "luma"), [(0, (16, 16)), (20, (90, 110)), (100, (160, 185)), (203, (190, 215)), (4000, (230, 240))]
)
def test_hdr_greys_are_mapped_to_sdr_greys(clips: ClipMaker, nits: int, luma: tuple[int, int]) -> None:
    code = round(64 + 876 * _perceptual_quantiser(nits))
    tags = "setparams=color_trc=smpte2084:color_primaries=bt2020:colorspace=bt2020nc:range=tv"
    grey = f"format=yuv420p10le,geq=lum={code}:cb=512:cr=512,{tags}"
    source = clips.make(f"{nits}_nits.mkv", *LOSSLESS, picture="color=black", filters=grey, frames=1)
    info = probe(source)
    assert info.picture(settings_of()).colour.model_dump() == {
        "matrix": "bt709",
        "range": "limited",
        "primaries": "bt709",
        "transfer": "bt709",
    }
    frame = canvas_frames(source)[0]
    assert luma[0] <= frame.y.min() <= frame.y.max() <= luma[1]
    assert np.abs(frame.u.astype(int) - 128).max() <= 1
    assert np.abs(frame.v.astype(int) - 128).max() <= 1


def test_hdr_that_is_kept_arrives_untouched(clips: ClipMaker) -> None:
    tags = "setparams=color_trc=smpte2084:color_primaries=bt2020:colorspace=bt2020nc:range=tv"
    source = clips.make("pq.mkv", *LOSSLESS, picture="mandelbrot", filters=f"format=yuv420p10le,{tags}", frames=2)
    _assert_equal(canvas_frames(source, base_stream={"codec": "hevc"}), decoded_planes(source))


def test_frames_carry_the_source_s_times(clips: ClipMaker) -> None:
    info = probe(clips.plain)
    assert [frame.time for frame in canvas_frames(clips.plain)] == list(info.frame_times())


@pytest.mark.parametrize("claimed", [11, 13])
def test_another_number_of_frames_is_an_error(clips: ClipMaker, claimed: int) -> None:
    info = probe(clips.plain)
    source = info.source.model_copy(update={"frame_count": claimed})
    wrong = replace(info, facts=info.facts.model_copy(update={"source": source}))
    with pytest.raises(FrameMismatchError, match=f"{claimed} frames at first and to 12 now"):
        list(read_source_frames(clips.plain, wrong, wrong.picture(settings_of()), program=FFmpeg()))


def test_leaving_early_ends_the_decoder(clips: ClipMaker) -> None:
    source = clips.make("many.mp4", *H264, frames=500)
    info = probe(source)
    before = psutil.Process().children()
    frames = read_source_frames(source, info, info.picture(settings_of()), program=FFmpeg())
    assert len(list(islice(frames, 3))) == 3
    frames.close()  # type: ignore[attr-defined]
    assert psutil.Process().children() == before


def test_a_source_replaced_by_a_larger_picture_is_not_decoded(clips: ClipMaker) -> None:
    """Decoders are held to the size that the probe saw."""
    info = probe(clips.plain)
    bomb = clips.make("bomb.mp4", *H264, size="2048x2048", picture="color=black", frames=2)
    with pytest.raises(FFmpegFailedError, match="exceeds specified max pixel count"):
        list(read_source_frames(bomb, info, info.picture(settings_of()), program=FFmpeg()))


def _assert_equal(frames: list[YuvFrame], expected: list[tuple[Samples, ...]]) -> None:
    assert len(frames) == len(expected)
    for frame, (y, u, v) in zip(frames, expected, strict=True):
        assert np.array_equal(frame.y, y)
        assert np.array_equal(frame.u, u)
        assert np.array_equal(frame.v, v)


def _extended(plane: Samples, width: int, height: int) -> Samples:
    return np.pad(plane, ((0, height - plane.shape[0]), (0, width - plane.shape[1])), mode="edge")


def _perceptual_quantiser(nits: float) -> float:
    """SMPTE ST 2084: the signal, 0 to 1, for a luminance."""
    power = (nits / 10_000) ** (2610 / 16384)
    return float(((3424 + 2413 * 32 * power) / (4096 + 2392 * 32 * power)) ** (2523 / 32))
