from __future__ import annotations

import hashlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from stdo.bundle.manifest import Colour, Rational
from stdo.service.resources import ProgressUnit, Stage
from tests.clips import H264, LOSSLESS, ClipMaker, run_ffmpeg
from tests.workers.sources import codes, probe, settings_of, silent
from workers.errors import RefusedSourceError, VideoTooLargeError, VideoTooLongError
from workers.ffmpeg.program import FFmpeg
from workers.source.probe import SourceInfo, SourceLimits, probe_source

ASSUMED = "colour_assumed"
TAGS = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"


def test_a_plain_file_is_what_it_is(clips: ClipMaker) -> None:
    clip = clips.make("tagged.mp4", *H264, "-c:a", "aac", filters=TAGS, sound=True)
    info = probe(clip)
    source = info.source
    assert (source.container, source.video_codec, source.pixel_format) == ("mp4", "h264", "yuv420p")
    assert (source.coded_width, source.coded_height, source.rotation_degrees) == (96, 80, 0)
    assert (info.facts.display_width, info.facts.display_height) == (96, 80)
    assert source.frame_count == 12
    assert source.average_frame_rate == Rational(numerator=25, denominator=1)
    assert source.duration_seconds == pytest.approx(0.48)
    assert not source.variable_frame_rate
    assert source.audio_codec == "aac"
    assert source.input_normalisations == ()
    assert info.facts.kept.colour == Colour(matrix="bt709", range="limited", primaries="bt709", transfer="bt709")
    assert source.sha256 == hashlib.sha256(clip.read_bytes()).hexdigest()
    assert source.byte_count == clip.stat().st_size
    assert list(info.frame_times()) == [Fraction(n, 25) for n in range(12)]


def test_it_is_read_as_it_was_saved(clips: ClipMaker, tmp_path: Path) -> None:
    info = probe(clips.with_sound)
    info.save(tmp_path)
    read = SourceInfo.load(tmp_path)
    assert read.facts == info.facts
    assert read.frame_ticks.dtype == np.int64
    assert np.array_equal(read.frame_ticks, info.frame_ticks)
    assert np.array_equal(read.scene_changes, info.scene_changes)
    assert {path.name for path in tmp_path.iterdir()} == {"source_info.json", "frame_times.npz"}


def test_a_known_hash_is_taken_over(clips: ClipMaker) -> None:
    info = probe_source(clips.plain, limits=SourceLimits(), report=silent, program=FFmpeg(), sha256="ab" * 32)
    assert info.source.sha256 == "ab" * 32


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_picture_of_an_odd_size(clips: ClipMaker, scale: int) -> None:
    source = clips.make("97x81.mkv", *LOSSLESS, "-pix_fmt", "yuv420p", size="97x81", picture="mandelbrot", frames=3)
    picture = probe(source).picture(settings_of(scale=scale))
    assert (picture.display_width, picture.display_height) == (97, 81)
    assert (picture.base_width, picture.base_height) == {2: (50, 42), 3: (34, 28), 4: (26, 22)}[scale]


FORMATS: dict[str, tuple[tuple[str, ...], str, str, str | None, set[str]]] = {
    # name: encoding, codec, pixel format, audio codec, what is normalised
    "ten_422.mp4": (("-c:v", "libx264", "-pix_fmt", "yuv422p10le", "-c:a", "aac"), "h264", "yuv422p10le", "aac",
                    {"chroma_converted", ASSUMED}),
    "ten_hevc.mp4": (("-c:v", "libx265", "-x265-params", "log-level=error", "-pix_fmt", "yuv420p10le", "-an"), "hevc",
                     "yuv420p10le", None, {ASSUMED}),
    "av1.mkv": (("-c:v", "libsvtav1", "-svtav1-params", "film-grain=5", "-an"), "av1", "yuv420p", None, {ASSUMED}),
    "vp9.webm": (("-c:v", "libvpx-vp9", "-c:a", "libopus"), "vp9", "yuv420p", "opus", {"audio_converted", ASSUMED}),
    "vp8.webm": (("-c:v", "libvpx", "-c:a", "libvorbis"), "vp8", "yuv420p", "vorbis", {"audio_converted"}),
    "prores.mov": (("-c:v", "prores_ks", "-c:a", "pcm_s24le"), "prores", "yuv422p10le", "pcm_s24le",
                   {"chroma_converted", "audio_converted", ASSUMED}),
    "alpha.mov": (("-c:v", "prores_ks", "-pix_fmt", "yuva444p10le", "-an"), "prores", "yuva444p12le", None,
                  {"bit_depth_reduced", "chroma_converted", "alpha_dropped", ASSUMED}),
    "mjpeg.avi": (("-c:v", "mjpeg", "-pix_fmt", "yuvj422p", "-c:a", "pcm_s16le"), "mjpeg", "yuvj422p", "pcm_s16le",
                  {"chroma_converted", "audio_converted"}),
    "mpeg4.avi": (("-c:v", "mpeg4", "-bf", "2", "-c:a", "libmp3lame"), "mpeg4", "yuv420p", "mp3",
                  {"audio_converted", ASSUMED}),
    "mpeg2.ts": (("-c:v", "mpeg2video", "-c:a", "mp2"), "mpeg2video", "yuv420p", "mp2",
                 {"audio_converted", "start_time_removed", ASSUMED}),
    "mpeg1.mpg": (("-c:v", "mpeg1video", "-c:a", "mp2"), "mpeg1video", "yuv420p", "mp2",
                  {"audio_converted", "start_time_removed", ASSUMED}),
    "rgb.mp4": (("-c:v", "libx264rgb", "-an"), "h264", "gbrp", None, {"rgb_converted"}),
    "grey.mkv": (("-c:v", "ffv1", "-pix_fmt", "gray10le", "-an"), "ffv1", "gray10le", None,
                 {"chroma_converted", ASSUMED}),
    "fragmented.mp4": ((*H264, "-movflags", "frag_keyframe+empty_moov", "-an"), "h264", "yuv420p", None, {ASSUMED}),
}  # fmt: skip


@pytest.mark.parametrize("name", list(FORMATS))
def test_many_formats_are_read(clips: ClipMaker, name: str) -> None:
    encoding, codec, pixel_format, audio_codec, expected = FORMATS[name]
    info = probe(clips.make(name, *encoding, sound="-an" not in encoding))
    source = info.source
    assert (source.video_codec, source.pixel_format, source.audio_codec) == (codec, pixel_format, audio_codec)
    assert source.frame_count == 12
    assert source.average_frame_rate == Rational(numerator=25, denominator=1)
    assert codes(info) == expected


def test_untagged_colour_depends_on_the_size(clips: ClipMaker) -> None:
    small = clips.make("sd.mkv", *LOSSLESS, "-pix_fmt", "yuv420p", size="720x576", frames=1)
    large = clips.make("hd.mkv", *LOSSLESS, "-pix_fmt", "yuv420p", size="1280x544", frames=1)
    assert (probe(small).facts.kept.colour.matrix, probe(large).facts.kept.colour.matrix) == ("bt601", "bt709")
    assert ASSUMED in codes(probe(small)) & codes(probe(large))


def test_tagged_colour_is_kept(clips: ClipMaker) -> None:
    tags = "setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc=bt2020-10:range=tv"
    wide = probe(clips.make("bt2020.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p10le", filters=tags))
    assert wide.facts.kept.colour == Colour(matrix="bt2020", range="limited", primaries="bt2020", transfer="bt2020-10")
    assert codes(wide) == set()
    assert wide.picture(settings_of()).bit_depth == 10


@pytest.mark.parametrize(
    ("turned", "rotation", "size"), [("270", 90, (80, 96)), ("180", 180, (96, 80)), ("90", 270, (80, 96))]
)
def test_phones_turn_their_video(clips: ClipMaker, turned: str, rotation: int, size: tuple[int, int]) -> None:
    info = probe(clips.remake(f"turned{turned}.mp4", clips.plain, before=("-display_rotation:v:0", turned)))
    assert info.source.rotation_degrees == rotation
    assert (info.source.coded_width, info.source.coded_height) == (96, 80)
    assert (info.facts.display_width, info.facts.display_height) == size
    assert "rotation_applied" in codes(info)


def test_a_slight_turn_is_ignored_and_said(clips: ClipMaker) -> None:
    info = probe(clips.remake("slanted.mp4", clips.plain, before=("-display_rotation:v:0", "30")))
    assert (info.source.rotation_degrees, info.facts.display_width) == (0, 96)
    assert "rotation_ignored" in codes(info)


def test_variable_times_are_kept_exactly(clips: ClipMaker) -> None:
    info = probe(
        clips.make(
            "uneven.mkv", *LOSSLESS, "-enc_time_base", "1:1000", filters="settb=1/1000,setpts=N*40+mod(N\\,3)*13"
        )
    )
    assert info.source.variable_frame_rate
    assert list(info.frame_times()) == [Fraction(n * 40 + n % 3 * 13, 1000) for n in range(12)]
    assert "variable_frame_rate_kept" in codes(info)


def test_ntsc_rates_are_exact(clips: ClipMaker) -> None:
    for name in ("ntsc.mp4", "ntsc.mkv"):
        source = probe(clips.make(name, *H264, rate="30000/1001", frames=60)).source
        assert source.average_frame_rate == Rational(numerator=30000, denominator=1001)
        assert not source.variable_frame_rate


def test_a_picture_that_starts_after_its_sound_stays_late(clips: ClipMaker, tmp_path: Path) -> None:
    late = tmp_path / "late.mp4"
    run_ffmpeg(
        "-itsoffset", "0.5", "-i", clips.plain, "-i", clips.with_sound, "-map", "0:v", "-map", "1:a", "-c", "copy", late
    )
    assert next(probe(late).frame_times()) == Fraction(1, 2)


def test_what_an_edit_list_cuts_off_is_not_there(clips: ClipMaker, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    run_ffmpeg("-ss", "0.2", "-i", clips.with_sound, "-c", "copy", cut)
    info = probe(cut)
    assert info.source.frame_count == 7
    assert next(info.frame_times()) == 0


@pytest.mark.parametrize("b_frames", [0, 2])
def test_avi_counts_packets_empty_ones_included(clips: ClipMaker, b_frames: int) -> None:
    """Every fifth frame was left out, and AVI has no other way to say so."""
    encoding = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", str(b_frames), "-c:a", "libmp3lame")
    info = probe(clips.make(f"dropped_{b_frames}.avi", *encoding, filters="select=mod(n\\,5)", sound=True))
    assert info.source.frame_count == 12
    # Frames 1 to 14 of the picture; FFmpeg's writer puts up to two empty packets before them.
    times = [int(time * 25) for time in info.frame_times()]
    assert times[0] == 0
    assert 13 <= times[-1] <= 15


def test_times_that_stand_still_are_moved_on(clips: ClipMaker, tmp_path: Path) -> None:
    """No writer makes such a file, so that the time of frame 5 is overwritten (track, time, flags of a block)."""
    content = clips.make("intra.mkv", *LOSSLESS, "-pix_fmt", "yuv420p").read_bytes()
    assert content.count(b"\x81\x00\xc8\x00") == 1
    still = tmp_path / "still.mkv"
    still.write_bytes(content.replace(b"\x81\x00\xc8\x00", b"\x81\x00\xa0\x00"))
    info = probe(still)
    assert "timestamps_nudged" in codes(info)
    assert list(info.frame_times())[3:7] == [Fraction(n, 1000) for n in (120, 160, 161, 240)]


def test_spliced_broadcasts_get_new_times(clips: ClipMaker, tmp_path: Path) -> None:
    part = clips.make("part.ts", "-c:v", "mpeg2video", frames=5).read_bytes()
    (tmp_path / "spliced.ts").write_bytes(part + part)
    info = probe(tmp_path / "spliced.ts")
    assert "timestamps_rebuilt" in codes(info)
    assert list(info.frame_times()) == [Fraction(n, 25) for n in range(10)]


def test_a_recording_that_starts_in_the_middle_starts_at_its_first_picture(clips: ClipMaker, tmp_path: Path) -> None:
    whole = clips.make("groups.ts", "-c:v", "libx264", "-x264-params", "keyint=15:open-gop=1:scenecut=0", frames=60)
    (tmp_path / "middle.ts").write_bytes(whole.read_bytes()[188 * 90 :])
    info = probe(tmp_path / "middle.ts")
    assert 15 <= info.source.frame_count < 60
    assert next(info.frame_times()) == 0


def test_interlaced_frames_are_counted_and_deinterlaced(clips: ClipMaker) -> None:
    encoding = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-flags", "+ilme+ildct", "-x264-params", "tff=1")
    info = probe(clips.make("fields.mp4", *encoding, filters="interlace", rate="50"))
    assert "deinterlaced" in codes(info)
    assert info.source.frame_count == 12
    assert [each.name for each in info.facts.kept.filters].count("bwdif") == 1


def test_only_one_picture_and_one_sound_track_are_kept(clips: ClipMaker, tmp_path: Path) -> None:
    many = tmp_path / "many.mkv"
    both = ("-i", clips.with_sound, "-i", clips.with_sound)
    run_ffmpeg(
        *both, "-map", "0", "-map", "1", "-c", "copy", "-disposition:v:1", "default", "-disposition:v:0", "0", many
    )
    info = probe(many)
    assert info.facts.video_stream_index == 2
    assert "streams_dropped" in codes(info)


def test_sound_that_can_t_be_read_is_left_out(clips: ClipMaker) -> None:
    info = probe(clips.make("wma.mkv", *H264, "-c:a", "wmav2", sound=True))
    assert (info.facts.audio_stream_index, info.source.audio_codec) == (None, None)
    assert "streams_dropped" in codes(info)


def test_a_single_frame_is_a_video(clips: ClipMaker) -> None:
    info = probe(clips.make("single.mp4", *H264, frames=1))
    assert info.source.frame_count == 1
    assert list(info.frame_times()) == [0]
    assert info.source.duration_seconds == pytest.approx(0.04)


def test_progress_goes_up_to_the_number_of_frames(clips: ClipMaker) -> None:
    reports: list[tuple[Stage, int, int, ProgressUnit]] = []
    clip = clips.make("sixty.mp4", *H264, frames=60)
    probe_source(clip, limits=SourceLimits(), report=lambda *report: reports.append(report), program=FFmpeg())
    assert reports == [("probe", 25, 60, "frames"), ("probe", 50, 60, "frames"), ("probe", 60, 60, "frames")]


def _text(text: str) -> Callable[[ClipMaker, Path], object]:
    return lambda _, path: path.write_text(text)


def _cut_off(clips: ClipMaker, path: Path) -> None:
    streaming = clips.remake("streaming.mp4", clips.plain, "-movflags", "faststart").read_bytes()
    path.write_bytes(streaming[: len(streaming) * 2 // 3])


def _two_sizes(clips: ClipMaker, path: Path) -> None:
    parts = (clips.make(f"{size}.ts", "-c:v", "mpeg2video", size=size, frames=5) for size in ("96x80", "64x64"))
    path.write_bytes(b"".join(part.read_bytes() for part in parts))


def _encrypted(clips: ClipMaker, path: Path) -> None:
    key = ("-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb", "-encryption_kid", "a7e61c373e219033c21091fa607bf3b8")
    run_ffmpeg("-i", clips.plain, "-c", "copy", "-encryption_scheme", "cenc-aes-ctr", *key, path)


def _cover_art(clips: ClipMaker, path: Path) -> None:
    inputs = ("-f", "lavfi", "-t", "0.2", "-i", "sine", "-f", "lavfi", "-i", "color=red:size=64x64")
    run_ffmpeg(*inputs, "-c:a", "aac", "-c:v", "png", "-frames:v", "1", "-disposition:v:0", "attached_pic", path)


def _image(clips: ClipMaker, path: Path) -> None:
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=96x80", "-frames:v", "5", "-f", "gif", path)


def _other_codec(codec: str, *options: str) -> Callable[[ClipMaker, Path], None]:
    return lambda clips, path: run_ffmpeg("-i", clips.plain, *options, "-c:v", codec, path)


REFUSED: dict[str, tuple[str, Callable[[ClipMaker, Path], object]]] = {
    "text.mp4": ("not_a_video", _text("This is no video.\n" * 50)),
    "empty.mp4": ("not_a_video", _text("")),
    "list.mp4": ("not_a_video", _text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nplain.mp4\n#EXT-X-ENDLIST\n")),
    "list.m3u8": ("not_a_video", _text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nplain.mp4\n#EXT-X-ENDLIST\n")),
    "concat.mp4": ("not_a_video", _text("ffconcat version 1.0\nfile plain.mp4\n")),
    "noise.mp4": ("not_a_video", lambda _, path: path.write_bytes(hashlib.sha512(b"").digest() * 500)),
    "gif.mp4": ("not_a_video", _image),
    "no_index.mp4": ("not_a_video", lambda clips, path: path.write_bytes(clips.plain.read_bytes()[:-2000])),
    "cut_off.mp4": ("corrupt_video", _cut_off),
    "sound.m4a": ("no_video_stream", lambda _, path: run_ffmpeg("-f", "lavfi", "-t", "0.2", "-i", "sine", path)),
    "cover.m4a": ("no_video_stream", _cover_art),
    "magicyuv.avi": ("unsupported_codec", _other_codec("magicyuv")),
    "ycgco.mkv": ("unsupported_colour", _other_codec("libx264", "-vf", "setparams=colorspace=ycgco")),
    "encrypted.mp4": ("encrypted_video", _encrypted),
    "two_sizes.ts": ("changing_picture", _two_sizes),
    "tiny.mkv": ("picture_too_small", _other_codec("ffv1", "-vf", "scale=14:80")),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_can_t_be_encoded_is_refused_with_the_reason(clips: ClipMaker, tmp_path: Path, name: str) -> None:
    kind, write = REFUSED[name]
    write(clips, tmp_path / name)
    with pytest.raises(RefusedSourceError) as caught:
        probe(tmp_path / name)
    failure = caught.value.as_failure()
    assert failure.type == kind
    assert len(failure.detail) > 30
    assert str(tmp_path) not in failure.detail


def test_a_missing_file_is_not_blamed_on_the_video(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        probe(tmp_path / "missing.mp4")


LIMITS: dict[str, tuple[str, dict[str, float], str]] = {
    "frames": ("video_too_long", {"max_frames": 11}, "more than 11 frames"),
    "duration": ("video_too_long", {"max_duration_seconds": 0.3}, "at most 0 s"),
    "pixels": ("video_too_large", {"max_pixels_per_frame": 96 * 80 - 1}, "96x80"),
    "streams": ("too_many_streams", {"max_streams": 1}, "2 streams"),
}


@pytest.mark.parametrize("name", list(LIMITS))
def test_limits_hold(clips: ClipMaker, name: str) -> None:
    kind, limits, reason = LIMITS[name]
    with pytest.raises(RefusedSourceError, match=reason) as caught:
        probe(clips.with_sound, **limits)
    assert caught.value.type == kind


def test_the_limit_of_the_duration_holds_for_times_made_anew(clips: ClipMaker, tmp_path: Path) -> None:
    """The two halves of a spliced broadcast lie at the same times: only one after the other do they last too long."""
    part = clips.make("part.ts", "-c:v", "mpeg2video", frames=5).read_bytes()
    (tmp_path / "spliced.ts").write_bytes(part + part)
    with pytest.raises(VideoTooLongError):
        probe(tmp_path / "spliced.ts", max_duration_seconds=0.3)


def test_the_limits_themselves_are_allowed(clips: ClipMaker) -> None:
    info = probe(clips.with_sound, max_frames=12, max_pixels_per_frame=96 * 80, max_streams=2, max_duration_seconds=0.5)
    assert info.source.frame_count == 12


def test_a_bomb_is_refused_before_it_is_decoded(clips: ClipMaker) -> None:
    bomb = clips.make("huge.mp4", *H264, size="4096x2400", picture="color=black", frames=1)
    with pytest.raises(RefusedSourceError, match="4096x2400") as caught:
        probe(bomb)
    assert caught.value.type == "video_too_large"


@pytest.mark.parametrize(
    ("size", "aspect", "max_pixels", "squared"),
    [
        ("20000x400", "1", 4096 * 2304, "20000x400"),
        ("5000x400", "4", 4096 * 2304, "20000x400"),
        ("96x80", "2", 2 * 96 * 80 - 1, "192x80"),
    ],
)
def test_a_picture_is_measured_once_its_pixels_are_square(
    clips: ClipMaker, size: str, aspect: str, max_pixels: int, squared: str
) -> None:
    wide = clips.make("wide.mkv", *LOSSLESS, "-pix_fmt", "yuv420p", size=size, frames=1, filters=f"setsar={aspect}")
    with pytest.raises(VideoTooLargeError, match=f"The picture is {squared} with square pixels"):
        probe(wide, max_pixels_per_frame=max_pixels)


def test_a_picture_that_grows_beyond_its_header_is_not_decoded(clips: ClipMaker, tmp_path: Path) -> None:
    parts = (clips.make(f"{size}.ts", "-c:v", "mpeg2video", size=size, frames=3) for size in ("96x80", "2048x2048"))
    (tmp_path / "grows.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(RefusedSourceError) as caught:
        probe(tmp_path / "grows.ts")
    assert caught.value.type in ("changing_picture", "corrupt_video")


PQ = "setparams=color_trc=smpte2084:color_primaries=bt2020:colorspace=bt2020nc:range=tv"
HLG = "setparams=color_trc=arib-std-b67:color_primaries=bt2020:colorspace=bt2020nc:range=tv"

HDR_CHOICES: dict[str, tuple[str | None, dict[str, object], bool]] = {
    # name: hdr, base_stream, whether HDR is kept
    "hevc by itself": (None, {"codec": "hevc"}, True),
    "av1 by itself": (None, {"codec": "av1"}, True),
    "vvc by itself": (None, {"codec": "vvc"}, True),
    "h264 by itself": (None, {"codec": "h264"}, False),
    "hevc with eight bits": (None, {"codec": "hevc", "bit_depth": 8}, False),
    "hevc, asked to": ("keep", {"codec": "hevc"}, True),
    "hevc, asked not to": ("tone_map", {"codec": "hevc"}, False),
}


@pytest.mark.parametrize("tags", [PQ, HLG])
@pytest.mark.parametrize("name", list(HDR_CHOICES))
def test_hdr_is_kept_where_codec_and_depth_carry_it(clips: ClipMaker, name: str, tags: str) -> None:
    hdr, base_stream, kept = HDR_CHOICES[name]
    info = probe(clips.make("hdr.mkv", *LOSSLESS, filters=f"format=yuv420p10le,{tags}", frames=2))
    picture = info.picture(settings_of(hdr=hdr, base_stream=base_stream))
    assert info.facts.tone_mapped is not None
    assert (picture.bit_depth, picture.colour.matrix) == ((10, "bt2020") if kept else (8, "bt709"))
    noted = {note.code for note in info.source_of(picture).input_normalisations}
    assert ("hdr_kept" in noted, "hdr_tone_mapped" in noted) == (kept, not kept)


def test_hdr_with_eight_bits_is_tone_mapped_unless_the_base_stream_gets_ten(clips: ClipMaker) -> None:
    info = probe(clips.make("hdr8.mkv", *LOSSLESS, filters=f"format=yuv420p,{PQ}", frames=2))
    assert info.picture(settings_of(base_stream={"codec": "hevc"})).colour.matrix == "bt709"
    assert info.picture(settings_of(base_stream={"codec": "av1"})).colour.matrix == "bt2020"


def test_the_choice_of_hdr_says_nothing_about_sdr(clips: ClipMaker) -> None:
    info = probe(clips.plain)
    pictures = [info.picture(settings_of(hdr=hdr, base_stream={"codec": "hevc"})) for hdr in (None, "keep", "tone_map")]
    assert info.facts.tone_mapped is None
    assert pictures[0] == pictures[1] == pictures[2]
