from __future__ import annotations

import hashlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from stdo.bundle.boxes import StreamRanges, read_stream_ranges
from stdo.decoder.video_reader import decode_video
from stdo.service.resources import ProgressUnit, Stage
from tests.clips import H264, LOSSLESS, ClipMaker, run_ffmpeg
from tests.workers.sources import Samples, canvas_frames, mean_squared_error, probe, settings_of, silent
from workers.base_stream.encode import EncodedBaseStream, encode_base_stream
from workers.errors import FrameMismatchError, PictureTooSmallError
from workers.ffmpeg.program import FFmpeg
from workers.source.probe import SourceInfo

STREAMS: dict[str, dict[str, Any]] = {
    "h264": {"codec": "h264"},
    "hevc": {"codec": "hevc"},
    # Its encoder takes no base frames as small as the others'.
    "hevc with ten bits": {"codec": "hevc", "bit_depth": 10, "scale": 1},
    "av1": {"codec": "av1"},
    "av1 with eight bits": {"codec": "av1", "bit_depth": 8},
    "vvc": {"codec": "vvc"},
    "lossless": {"codec": "h264", "lossless": True},
}
LOSSY = [name for name in STREAMS if name != "lossless"]


def encode(
    source: Path, out: Path, *, scale: int = 2, info: SourceInfo | None = None, **base_stream: Any
) -> EncodedBaseStream:
    """Into the file `out`."""
    settings = settings_of(scale=scale, base_stream={"speed": "fast", **base_stream})
    made = encode_base_stream(source, info or probe(source), settings, out.parent, silent, program=FFmpeg())
    (out.parent / "base.mp4").replace(out)
    return made


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "base.mp4"


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", ["97x81", "96x80"])
def test_the_size_covers_the_picture(clips: ClipMaker, out: Path, size: str, scale: int) -> None:
    source = clips.make(f"{size}.mkv", *LOSSLESS, "-pix_fmt", "yuv420p", size=size, picture="mandelbrot", frames=3)
    picture = probe(source).picture(settings_of(scale=scale))
    encode(source, out, scale=scale)
    assert {frame.y.shape for frame in decode_video(out)} == {(picture.base_height, picture.base_width)}


@pytest.mark.parametrize(("downscale", "filter_name"), [("bicubic", "BICUBIC"), ("lanczos", "LANCZOS")])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_each_plane_of_the_canvas_is_downscaled_on_its_own(
    clips: ClipMaker, out: Path, scale: int, downscale: str, filter_name: str
) -> None:
    """Against Pillow, whose kernels differ a little, and against Pillow with the picture shifted by half a pixel."""
    source = clips.make("98x83.mkv", *LOSSLESS, "-pix_fmt", "yuv420p", size="98x83", picture="mandelbrot", frames=3)
    encode(source, out, scale=scale, lossless=True, downscale=downscale)
    for low, canvas in zip(decode_video(out), canvas_frames(source, scale=scale), strict=True):
        for plane in ("y", "u", "v"):
            found, whole = getattr(low, plane), getattr(canvas, plane)
            error = mean_squared_error(found, _resized(whole, found.shape, filter_name))
            shifted = mean_squared_error(found, _resized(np.roll(whole, 1, axis=1), found.shape, filter_name))
            assert error < 6
            assert error < shifted / 3


@pytest.mark.parametrize(
    ("stream", "codec", "tag", "bit_depth", "mime"),
    [
        ("h264", "h264", "avc1", 8, "avc1."),
        ("hevc", "hevc", "hvc1", 8, "hvc1.1."),
        ("hevc with ten bits", "hevc", "hvc1", 10, "hvc1.2."),
        ("av1", "av1", "av01", 10, "av01."),
        ("av1 with eight bits", "av1", "av01", 8, "av01."),
        ("vvc", "vvc", "vvc1", 10, "vvc1."),
        ("lossless", "h264", "avc1", 8, "avc1."),
    ],
)
def test_codecs(clips: ClipMaker, out: Path, stream: str, codec: str, tag: str, bit_depth: int, mime: str) -> None:
    made = encode(clips.plain, out, **STREAMS[stream])
    with av.open(str(out)) as container:
        context = container.streams.video[0].codec_context
        assert (context.codec.canonical_name, context.codec_tag) == (codec, tag)
        assert context.pix_fmt == {8: "yuv420p", 10: "yuv420p10le"}[bit_depth]
    assert (made.codec, made.bit_depth, made.lossless) == (codec, bit_depth, stream == "lossless")
    assert (made.audio_codec, made.ffmpeg_version) == (None, FFmpeg().version())
    assert made.mime_type.startswith(f'video/mp4; codecs="{mime}')
    assert {frame.bit_depth for frame in decode_video(out)} == {bit_depth}


def test_ten_bits_of_the_source_make_ten_bits_of_the_stream(clips: ClipMaker, out: Path) -> None:
    ten = clips.make("ten.mkv", *LOSSLESS, "-pix_fmt", "yuv420p10le", picture="mandelbrot", frames=3)
    assert encode(ten, out, codec="hevc", scale=1).bit_depth == 10
    assert encode(ten, out, codec="h264").bit_depth == 8


@pytest.mark.parametrize("full_range", [False, True])
def test_at_scale_1_eight_bits_gain_two_by_a_shift(clips: ClipMaker, out: Path, full_range: bool) -> None:
    pixels = "yuvj420p" if full_range else "yuv420p"
    source = clips.make(f"{pixels}.mp4", "-c:v", "libx264", "-qp", "0", "-pix_fmt", pixels, picture="mandelbrot")
    encode(source, out, scale=1, codec="hevc", bit_depth=10, lossless=True)
    for base, canvas in zip(decode_video(out), canvas_frames(source, scale=1), strict=True):
        for plane in ("y", "u", "v"):
            assert np.array_equal(getattr(base, plane), getattr(canvas, plane).astype(np.uint16) << 2)


def test_downscaling_to_ten_bits_keeps_what_eight_would_round(clips: ClipMaker, out: Path) -> None:
    pixels = ("-pix_fmt", "yuv420p")
    source = clips.make("smooth.mkv", *LOSSLESS, *pixels, picture="mandelbrot", frames=3, size="192x160")
    encode(source, out, codec="hevc", bit_depth=10, lossless=True)
    low = next(iter(decode_video(out))).y
    assert len(np.unique(low & 3)) == 4


@pytest.mark.parametrize("stream", LOSSY)
def test_quality_follows_the_settings(clips: ClipMaker, tmp_path: Path, stream: str) -> None:
    source = clips.make("busy.mp4", *H264, size="192x160", picture="mandelbrot", frames=20)
    files = [tmp_path / f"{name}.mp4" for name in ("good", "default", "poor")]
    for file, quality in zip(files, ({"crf": 5}, {}, {"crf": 50}), strict=True):
        encode(source, file, **STREAMS[stream], **quality)
    byte_counts = [file.stat().st_size for file in files]
    assert byte_counts == sorted(set(byte_counts), reverse=True)
    encode(source, tmp_path / "exact.mp4", lossless=True, scale=STREAMS[stream].get("scale", 2))
    errors = [_difference(file, tmp_path / "exact.mp4") for file in files]
    assert errors == sorted(errors)
    # 34 dB at the default quality.
    assert errors[1] < 26


@pytest.mark.parametrize("stream", LOSSY)
def test_a_bitrate_is_met(clips: ClipMaker, out: Path, stream: str) -> None:
    source = clips.make("eight_seconds.mp4", *H264, size="192x160", picture="mandelbrot", frames=200)
    encode(source, out, **STREAMS[stream], bitrate_kbps=200)
    assert 0.5 < out.stat().st_size * 8 / 8 / 200_000 < 1.5


def test_lossless_loses_nothing(clips: ClipMaker, tmp_path: Path) -> None:
    """Twice through the encoder: the second copy, of the same size, equals the first."""
    encode(clips.plain, tmp_path / "first.mp4", lossless=True)
    first = [frame.y for frame in decode_video(tmp_path / "first.mp4")]
    run_ffmpeg("-i", tmp_path / "first.mp4", "-c:v", "ffv1", tmp_path / "copy.mkv")
    with av.open(str(tmp_path / "copy.mkv")) as container:
        copied = [frame.to_ndarray()[:40] for frame in container.decode(video=0)]
    assert all(np.array_equal(*pair) for pair in zip(first, copied, strict=True))


TIMES = {
    "variable": ("mkv", (*LOSSLESS, "-enc_time_base", "1:1000"), "settb=1/1000,setpts=N*40+mod(N\\,3)*13", "25"),
    "fine": ("mp4", (*H264, "-enc_time_base", "1:90000"), "settb=1/90000,setpts=N*3001+mod(N*N\\,7)", "30"),
    "ntsc": ("mp4", H264, "null", "30000/1001"),
    "slow": ("avi", ("-c:v", "mpeg4"), "null", "1/2"),
    "fast": ("mkv", H264, "null", "240"),
}


@pytest.mark.parametrize("stream", list(STREAMS))
@pytest.mark.parametrize("name", list(TIMES))
def test_every_frame_keeps_its_time(clips: ClipMaker, out: Path, name: str, stream: str) -> None:
    extension, encoding, filters, rate = TIMES[name]
    source = clips.make(f"times_{name}.{extension}", *encoding, filters=filters, rate=rate)
    info = probe(source)
    encode(source, out, info=info, **STREAMS[stream])
    assert [frame.time for frame in decode_video(out)] == list(info.frame_times())


def test_times_that_were_repaired_are_those_of_the_stream(clips: ClipMaker, tmp_path: Path, out: Path) -> None:
    content = clips.make("intra.mkv", *LOSSLESS, "-pix_fmt", "yuv420p").read_bytes()
    still, spliced = tmp_path / "still.mkv", tmp_path / "spliced.ts"
    still.write_bytes(content.replace(b"\x81\x00\xc8\x00", b"\x81\x00\xa0\x00"))
    spliced.write_bytes(2 * clips.make("part.ts", "-c:v", "mpeg2video", frames=5).read_bytes())
    for source in (still, spliced):
        encode(source, out)
        assert [frame.time for frame in decode_video(out)] == list(probe(source).frame_times())


def test_sound_stays_with_the_picture(clips: ClipMaker, tmp_path: Path, out: Path) -> None:
    """The picture starts half a second after the sound."""
    source = tmp_path / "late.mp4"
    inputs = ("-itsoffset", "0.5", "-i", clips.plain, "-i", clips.with_sound)
    run_ffmpeg(*inputs, "-map", "0:v", "-map", "1:a", "-c", "copy", source)
    encode(source, out)
    assert next(decode_video(out)).time == Fraction(1, 2)
    assert _first_sound(out) == pytest.approx(_first_sound(source), abs=0.002)


def test_aac_is_passed_through(clips: ClipMaker, out: Path) -> None:
    assert encode(clips.with_sound, out).audio_codec == "aac"
    assert _sound_packets(out) == _sound_packets(clips.with_sound)


def test_aac_of_a_transport_stream_is_passed_through(clips: ClipMaker, out: Path) -> None:
    source = clips.make("sound.ts", "-c:v", "mpeg2video", "-c:a", "aac", sound=True)
    encode(source, out)
    header = 7
    assert _sound_packets(out) == [packet[header:] for packet in _sound_packets(source)]


@pytest.mark.parametrize(
    ("name", "codec"), [("mp3.avi", "libmp3lame"), ("opus.mkv", "libopus"), ("pcm.mov", "pcm_s16le")]
)
def test_other_sound_becomes_aac(clips: ClipMaker, out: Path, name: str, codec: str) -> None:
    encode(clips.make(name, *H264, "-c:a", codec, sound=True), out)
    with av.open(str(out)) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.codec.canonical_name == "aac"
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(stream)])
    spectrum = np.abs(np.fft.rfft(samples[4800:14400]))
    assert np.argmax(spectrum) * 5 == pytest.approx(440, abs=10)


@pytest.mark.parametrize("matrix", ["bt709", "bt2020nc", "smpte170m"])
@pytest.mark.parametrize("stream", list(STREAMS))
def test_the_stream_says_what_its_colours_mean(clips: ClipMaker, out: Path, stream: str, matrix: str) -> None:
    tags = f"setparams=colorspace={matrix}:color_primaries=bt2020:color_trc=bt709:range=tv,format=yuv420p"
    encode(clips.make(f"{matrix}.mkv", *LOSSLESS, filters=tags, frames=2), out, **STREAMS[stream])
    with av.open(str(out)) as container:
        frame = next(container.decode(video=0))
    codes = (int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc), int(frame.color_range))
    assert codes == ({"bt709": 1, "bt2020nc": 9, "smpte170m": 6}[matrix], 9, 1, 1)


def test_an_assumed_matrix_is_stated_since_the_size_no_longer_tells(clips: ClipMaker, out: Path) -> None:
    encode(clips.make("hd.mkv", *LOSSLESS, "-pix_fmt", "yuv420p", size="1280x544", frames=1), out, scale=4)
    with av.open(str(out)) as container:
        assert int(next(container.decode(video=0)).colorspace) == 1


@pytest.mark.parametrize("stream", list(STREAMS))
def test_full_range_is_said_and_kept(clips: ClipMaker, out: Path, stream: str) -> None:
    source = clips.make(
        "white.mp4", "-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuvj420p", picture="color=white", frames=2
    )
    encode(source, out, **STREAMS[stream])
    with av.open(str(out)) as container:
        assert int(next(container.decode(video=0)).color_range) == 2
    assert next(decode_video(out)).y.min() >= 253


def test_a_turned_picture_is_upright_and_not_turned_again(clips: ClipMaker, out: Path) -> None:
    source = clips.remake("turned270.mp4", clips.plain, before=("-display_rotation:v:0", "270"))
    encode(source, out)
    with av.open(str(out)) as container:
        frame = next(container.decode(video=0))
    assert (frame.width, frame.height, frame.rotation) == (40, 48, 0)


@pytest.mark.parametrize("stream", list(STREAMS))
def test_the_same_job_gives_the_same_bytes(clips: ClipMaker, tmp_path: Path, stream: str) -> None:
    source = clips.make("mp3_sound.mkv", *H264, "-c:a", "libmp3lame", sound=True, frames=40, size="192x160")
    for name in ("one.mp4", "two.mp4"):
        encode(source, tmp_path / name, **STREAMS[stream])
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_nothing_of_the_source_s_metadata_is_left(clips: ClipMaker, out: Path) -> None:
    source = clips.remake("titled.mp4", clips.plain, "-metadata", "title=At home", "-metadata", "comment=secret")
    assert b"At home" in source.read_bytes()
    encode(source, out)
    assert b"At home" not in out.read_bytes()
    with av.open(str(out)) as container:
        assert not container.metadata.keys() & {"title", "comment", "encoder", "creation_time"}


UNEVEN = "settb=1/1000,setpts=N*40+gte(N\\,30)*(N-30)*80"


def two_scenes(clips: ClipMaker, *, uneven: bool) -> Path:
    """60 frames, of which frame 22 begins a scene."""
    encoding = (*LOSSLESS, "-pix_fmt", "yuv420p", "-enc_time_base", "1:1000") if uneven else H264
    filters = f"negate=enable='gte(n,22)',{UNEVEN if uneven else 'null'}"
    return clips.make(f"scenes_{uneven}.mkv", *encoding, filters=filters, frames=60, picture="mandelbrot")


@pytest.mark.parametrize("stream", list(STREAMS))
@pytest.mark.parametrize("uneven", [False, True])
def test_key_frames_are_where_segments_begin_and_nowhere_else(
    clips: ClipMaker, out: Path, stream: str, uneven: bool
) -> None:
    source = two_scenes(clips, uneven=uneven)
    info = probe(source)
    made = encode(source, out, info=info, **STREAMS[stream], segment_seconds=1)
    starts = [segment.first_frame for segment in made.segments]
    assert (22 in starts) == (stream != "vvc")
    assert len(starts) > 1
    times = list(info.frame_times())
    with av.open(str(out)) as container:
        track = container.streams.video[0]
        assert track.time_base == made.time_base.fraction
        keys = [packet.pts for packet in container.demux(track) if packet.is_keyframe]
    assert keys == [segment.time_ticks for segment in made.segments]
    assert [key * made.time_base.fraction for key in keys] == [times[start] for start in starts]


@pytest.mark.parametrize("stream", list(STREAMS))
def test_each_segment_decodes_by_itself(clips: ClipMaker, out: Path, tmp_path: Path, stream: str) -> None:
    made = encode(two_scenes(clips, uneven=False), out, **STREAMS[stream], segment_seconds=1)
    content, whole = out.read_bytes(), list(decode_video(out))
    header = content[: made.header.byte_count]
    ends = [*(segment.first_frame for segment in made.segments[1:]), len(whole)]
    for segment, end in zip(made.segments, ends, strict=True):
        alone = tmp_path / "alone.mp4"
        alone.write_bytes(header + content[segment.offset : segment.offset + segment.byte_count])
        frames = list(decode_video(alone))
        assert len(frames) == end - segment.first_frame
        for found, expected in zip(frames, whole[segment.first_frame : end], strict=True):
            assert all(np.array_equal(getattr(found, name), getattr(expected, name)) for name in ("y", "u", "v"))


@pytest.mark.parametrize("stream", list(STREAMS))
def test_header_and_segments_are_the_whole_file(clips: ClipMaker, out: Path, stream: str) -> None:
    source = clips.make("sixty_sound.mp4", *H264, "-c:a", "aac", sound=True, frames=60)
    made = encode(source, out, **STREAMS[stream], segment_seconds=1)
    content = out.read_bytes()
    boxes = _top_level_boxes(content)
    assert boxes == ["ftyp", "moov", *["moof", "mdat"] * len(made.segments)]
    assert hashlib.sha256(content[: made.header.byte_count]).hexdigest() == made.header.sha256
    end = made.header.byte_count
    for segment in made.segments:
        assert segment.offset == end
        end += segment.byte_count
        assert hashlib.sha256(content[segment.offset : end]).hexdigest() == segment.sha256
    assert end == len(content)
    playlist = (out.parent / "base.m3u8").read_text()
    assert playlist.count("#EXTINF") == len(made.segments) > 1


def test_what_is_made_survives_json(clips: ClipMaker, out: Path) -> None:
    made = encode(clips.with_sound, out)
    assert EncodedBaseStream.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize("sound", ["aac", "libmp3lame"])
def test_sound_that_comes_late_leaves_a_fragment_for_each_segment(
    clips: ClipMaker, out: Path, tmp_path: Path, sound: str
) -> None:
    picture = clips.make("long.mp4", *H264, frames=150)
    voice = clips.make(f"voice_{sound}.mkv", *H264, "-c:a", sound, sound=True, frames=25)
    source = tmp_path / "late.mkv"
    inputs = ("-i", picture, "-itsoffset", "4", "-i", voice)
    run_ffmpeg(*inputs, "-map", "0:v", "-map", "1:a", "-c", "copy", source)
    made = encode(source, out, segment_seconds=1)
    assert len(made.segments) == 6
    assert _loud_from(out) == pytest.approx(4, abs=0.06)


@pytest.mark.parametrize(("clip", "times"), [("plain", 1), ("with_sound", 2)])
def test_only_sound_is_a_reason_to_encode_again(
    clips: ClipMaker, out: Path, monkeypatch: pytest.MonkeyPatch, clip: str, times: int
) -> None:
    """Fragments may be missing for another reason, which a second encode would meet again."""
    asked = []

    def without_fragments(path: Path) -> StreamRanges:
        asked.append(path)
        return replace(read_stream_ranges(path), fragments=())

    monkeypatch.setattr("workers.base_stream.encode.read_stream_ranges", without_fragments)
    with pytest.raises(FrameMismatchError, match="0 fragments where 1 segments were planned"):
        encode(getattr(clips, clip), out)
    assert len(asked) == times


def test_a_single_frame(clips: ClipMaker, out: Path) -> None:
    for stream in STREAMS.values():
        encode(clips.make("single.mp4", *H264, frames=1), out, **stream)
        assert len(list(decode_video(out))) == 1


def test_progress_goes_up_to_the_number_of_frames(clips: ClipMaker, out: Path) -> None:
    reports: list[tuple[Stage, int, int, ProgressUnit]] = []
    settings, info = settings_of(base_stream={"speed": "fast"}), probe(clips.plain)
    encode_base_stream(
        clips.plain, info, settings, out.parent, lambda *report: reports.append(report), program=FFmpeg()
    )
    assert reports[-1] == ("encode", 12, 12, "frames")
    assert [done for _, done, _, _ in reports] == sorted(done for _, done, _, _ in reports)


@pytest.mark.parametrize("claimed", [11, 13])
def test_another_number_of_frames_than_the_source_s_is_an_error(clips: ClipMaker, out: Path, claimed: int) -> None:
    wrong = replace(probe(clips.plain), frame_ticks=np.arange(claimed, dtype=np.int64) * 512)
    with pytest.raises(FrameMismatchError, match=f"has 12 frames, and the source {claimed}"):
        encode(clips.plain, out, info=wrong)


def test_other_times_than_the_source_s_are_an_error(clips: ClipMaker, out: Path) -> None:
    info = probe(clips.plain)
    later = info.frame_ticks.copy()
    later[1:] += 1
    with pytest.raises(FrameMismatchError, match=r"Frame 1 .* 0\.040000 s, but at 0\.040078 s"):
        encode(clips.plain, out, info=replace(info, frame_ticks=later))


@pytest.mark.parametrize("codec", ["hevc", "av1", "vvc"])
def test_a_picture_too_small_for_an_encoder_is_refused(clips: ClipMaker, out: Path, codec: str) -> None:
    source = clips.make("small.mp4", *H264, size="48x40", frames=2)
    with pytest.raises(PictureTooSmallError, match="12x10"):
        encode(source, out, scale=4, codec=codec)
    encode(source, out, scale=4)
    assert len(list(decode_video(out))) == 2


@pytest.mark.parametrize("width", [84, 88, 92, 96])
def test_ten_bits_of_hevc_are_refused_where_the_encoder_crashes(clips: ClipMaker, out: Path, width: int) -> None:
    source = clips.make(f"narrow_{width}.mp4", *H264, size=f"{width}x80", frames=2)
    with pytest.raises(PictureTooSmallError, match=f"{width // 2}x40.*at least 50x16"):
        encode(source, out, codec="hevc", bit_depth=10)


def _resized(plane: Samples, shape: tuple[int, ...], filter_name: str) -> Samples:
    return np.asarray(Image.fromarray(plane).resize(shape[::-1], Image.Resampling[filter_name]))


def _difference(first: Path, second: Path) -> float:
    pairs = zip(decode_video(first), decode_video(second), strict=True)
    return float(np.mean([mean_squared_error(one.to_depth(8).y, other.to_depth(8).y) for one, other in pairs]))


def _first_sound(path: Path) -> float:
    with av.open(str(path)) as container:
        time = next(container.decode(audio=0)).time
    assert time is not None
    return time


def _loud_from(path: Path) -> float:
    """Seconds at which the sound is first heard."""
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            samples = np.abs(frame.to_ndarray()[0].astype(float))
            if samples.max() > 0.02:
                assert frame.time is not None
                return frame.time
    raise AssertionError("There is no sound.")


def _sound_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def _top_level_boxes(content: bytes) -> list[str]:
    """ISO/IEC 14496-12: a size of four bytes, then a name of four."""
    names, position = [], 0
    while position < len(content):
        names.append(content[position + 4 : position + 8].decode())
        position += int.from_bytes(content[position : position + 4], "big")
    return names
